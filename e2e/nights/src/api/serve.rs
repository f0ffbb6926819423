//! The API as a `tower::Service`: each request takes a little virtual time, then happens at once; writes of controllers meet their fate.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Request, Response, body::Bytes};
use kube::client::Body;
use tokio::time::{Instant, sleep_until};

use super::{
    failure::Failure,
    list,
    request::{Ask, Verb, parse},
    scale,
    select::Selection,
    store::Store,
    watch::Reply,
    write::{self, Answer},
};
use crate::{
    decisions, journal,
    sim::{Caller, Fate, Inner, Sim, What},
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The API, as one caller reaches it.
#[derive(Clone)]
pub struct Server {
    sim: Sim,
    caller: Caller,
}

impl Server {
    /// The API for `caller`.
    #[must_use]
    pub fn new(sim: &Sim, caller: Caller) -> Self {
        Self { sim: sim.clone(), caller }
    }

    /// A client for `caller`. Make it inside the runtime.
    #[must_use]
    pub fn client(sim: &Sim, caller: Caller) -> kube::Client {
        kube::Client::new(Self::new(sim, caller), "default")
    }
}

impl tower::Service<Request<Body>> for Server {
    type Response = Response<Reply>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (sim, caller) = (self.sim.clone(), self.caller.clone());
        Box::pin(async move {
            sleep_until(Instant::now() + sim.latency()).await;
            let (parts, body) = request.into_parts();
            let content = parts.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
            let body = body.collect_bytes().await?;
            match parse(&parts.method, &parts.uri, &content, &body) {
                Ok(ask) => answer(&sim, &caller, &ask).await,
                Err(failure) => respond(failure.code, failure.body()),
            }
        })
    }
}

fn respond(code: u16, body: String) -> Result<Response<Reply>, Error> {
    Ok(Response::builder().status(code).header("content-type", "application/json").body(Reply::Whole(Some(Bytes::from(body))))?)
}

async fn answer(sim: &Sim, caller: &Caller, ask: &Ask) -> Result<Response<Reply>, Error> {
    if caller.controlled && sim.is_forbidden(ask.kind) {
        let failure = Failure::forbidden(ask.kind, ask.verb.word());
        return respond(failure.code, failure.body());
    }
    // Leases are an affair of their own: what is looped over is what the loop writes.
    if caller.controlled && ask.kind.plural == "leases" {
        if sim.is_severed(&caller.name) {
            return Err("no route to host (injected fault)".into());
        }
        return match ask.verb.is_write() {
            true => finish(sim.with(|inner| write::write(&mut inner.store, ask, inner.now))),
            false => finish(sim.with(|inner| read(&mut inner.store, ask))),
        };
    }
    match ask.verb {
        Verb::Watch => return watch(sim, caller, ask),
        Verb::List if caller.controlled => {
            let mut old = sim.outdated(ask.kind);
            return finish(sim.with(|inner| read(old.as_mut().unwrap_or(&mut inner.store), ask)));
        }
        verb if verb.is_write() => {}
        _ => return finish(sim.with(|inner| read(&mut inner.store, ask))),
    }
    if !caller.controlled {
        return finish(sim.with(|inner| write::write(&mut inner.store, ask, inner.now)));
    }
    // Events are for people: a fault there must cost nothing, and they would double the writes to loop over.
    if ask.kind.plural == "events" {
        return finish(sim.with(|inner| write::write(&mut inner.store, ask, inner.now)));
    }
    fated(sim, caller, ask).await
}

/// A controller's write, which meets its fate.
async fn fated(sim: &Sim, caller: &Caller, ask: &Ask) -> Result<Response<Reply>, Error> {
    let what = What { verb: ask.verb.word(), place: journal::place(ask) };
    match sim.meet(caller, &what).await {
        Fate::Refuse => {
            sim.with(|inner| inner.journal.add(inner.now, &caller.name, &what, "refused by a fault"));
            finish(Err(Failure::internal("injected fault")))
        }
        Fate::Never => std::future::pending().await,
        Fate::Lose => {
            drop(sim.write(caller, &what, |inner| carry_out(inner, caller, &what, ask)).await);
            Err("connection reset by peer (injected fault)".into())
        }
        Fate::Repeat => {
            drop(sim.write(caller, &what, |inner| carry_out(inner, caller, &what, ask)).await);
            finish(sim.write(caller, &what, |inner| carry_out(inner, caller, &what, ask)).await)
        }
        Fate::Stray(late) => {
            let (sim, caller, ask) = (sim.clone(), caller.clone(), ask.clone());
            tokio::spawn(async move {
                sleep_until(Instant::now() + late).await;
                drop(sim.with(|inner| carry_out(inner, &caller, &what, &ask)));
            });
            std::future::pending().await
        }
        Fate::Happen => finish(sim.write(caller, &what, |inner| carry_out(inner, caller, &what, ask)).await),
    }
}

fn carry_out(inner: &mut Inner, caller: &Caller, what: &What, ask: &Ask) -> Result<Answer, Failure> {
    let name = if ask.name.is_empty() { ask.body["metadata"]["name"].as_str().unwrap_or_default() } else { &ask.name };
    let before = inner.store.get(ask.kind, &ask.namespace, name).cloned();
    let result = write::write(&mut inner.store, ask, inner.now);
    let after = inner.store.get(ask.kind, &ask.namespace, name).cloned();
    let told = match &result {
        Ok(_) => journal::change(ask, before.as_deref(), after.as_deref()),
        Err(failure) => format!("{} {}", failure.code, failure.message),
    };
    inner.journal.add(inner.now, &caller.name, what, &told);
    if result.is_ok() {
        let decisions = decisions::of_write(inner, ask, before.as_deref(), after.as_deref());
        inner.journal.decided(inner.now, &caller.name, decisions);
        crate::rules::after_write(inner, ask, before.as_deref(), after.as_deref());
    }
    result
}

fn finish(result: Result<Answer, Failure>) -> Result<Response<Reply>, Error> {
    match result {
        Ok((code, body)) => respond(code, body.to_string()),
        Err(failure) => respond(failure.code, failure.body()),
    }
}

fn read(store: &mut Store, ask: &Ask) -> Result<Answer, Failure> {
    match (ask.verb, ask.sub.as_deref()) {
        (Verb::Get, Some("scale")) => scale::read(store, ask),
        (Verb::Get, _) => Ok((200, write::get(store, ask.kind, &ask.namespace, &ask.name)?)),
        _ => Ok((200, Arc::new(list::list(store, ask)?))),
    }
}

fn watch(sim: &Sim, caller: &Caller, ask: &Ask) -> Result<Response<Reply>, Error> {
    let since = ask.param("resourceVersion").filter(|v| *v != "0").and_then(|v| v.parse().ok());
    let timeout = Duration::from_secs(ask.param("timeoutSeconds").and_then(|t| t.parse().ok()).unwrap_or(1800));
    let stream = sim.hub(|hub| hub.listen(ask.kind, Selection::of(ask), since, timeout, caller.controlled));
    Ok(Response::builder().status(200).header("content-type", "application/json").body(Reply::Watch(stream))?)
}
