//! Stored objects that cannot be read: reported by name, once for each state of them, and said in the status of a sale.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use onsale_api::{
    Reason,
    conditions::{Verdict, types},
};
use serde_json::json;

use super::{
    conditions, cut,
    write::{Of, Write},
};
use crate::{
    context::Context,
    events::{self, Note},
    fleet::observe::{
        World,
        store::{Entry, Key, Record, Store},
    },
    metrics::Kind,
};

/// What was reported already: kind, namespace, name, UID and what is wrong. Losing it repeats an event.
#[derive(Default)]
pub struct Memory(BTreeSet<Report>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Report {
    kind: Kind,
    namespace: String,
    name: String,
    uid: String,
    error: String,
}

/// Reports what is new, and returns the statuses to write about it.
pub fn writes(memory: &mut Memory, context: &Context, world: &World, now: Timestamp) -> Vec<Write> {
    let all: BTreeSet<Report> =
        [list(&world.sales, |r| &r.unreadable), list(&world.pools, |r| &r.unreadable), list(&world.placements, |r| &r.unreadable)]
            .concat()
            .into_iter()
            .collect();
    for kind in [Kind::OnSale, Kind::CapacityPool, Kind::WorkloadPlacement] {
        let count = all.iter().filter(|r| r.kind == kind).count();
        context.metrics().unreadable(kind, i64::try_from(count).unwrap_or(i64::MAX));
    }
    let new: Vec<Report> = all.difference(&memory.0).cloned().collect();
    memory.0 = all;
    for report in &new {
        announce(context, report, now);
    }
    new.into_iter().filter(|r| r.kind == Kind::OnSale).map(|report| status(report, now)).collect()
}

fn list<R: Record>(store: &Store<R>, unreadable: fn(&R) -> &Option<String>) -> Vec<Report> {
    let report = |(namespace, name): &Key, entry: &Entry<R>| {
        let error = unreadable(&entry.record).clone()?;
        Some(Report { kind: R::KIND, namespace: namespace.clone(), name: name.clone(), uid: entry.uid.clone(), error })
    };
    store.read(|all| all.iter().filter_map(|(key, entry)| report(key, entry)).collect()).unwrap_or_default()
}

fn sentence(report: &Report) -> String {
    cut(&format!("the stored {:?} cannot be read: {}; correct it and apply it again", report.kind, report.error))
}

fn announce(context: &Context, report: &Report, now: Timestamp) {
    let namespace = Some(report.namespace.as_str()).filter(|n| !n.is_empty());
    tracing::error!(kind = ?report.kind, namespace = report.namespace, name = report.name, error = report.error, "unreadable object");
    let about = events::reference("onsale.dev/v1alpha1", &format!("{:?}", report.kind), namespace, &report.name, Some(&report.uid));
    context.say(Note { about, reason: Reason::InvalidObject, warning: true, text: sentence(report), at: now });
}

/// Its conditions say why. The phase is left as it is: it is the memory by which the sale goes on once it can be read again.
fn status(report: Report, now: Timestamp) -> Write {
    let verdict = |type_, status| Verdict { type_, status: Some(status), reason: Reason::InvalidObject, message: sentence(&report) };
    let verdicts = [verdict(types::READY, false), verdict(types::RECONCILING, false), verdict(types::STALLED, true)];
    let conditions: Vec<Condition> = conditions(&[], verdicts, None, now);
    let status = json!({"conditions": conditions});
    Write { of: Of::Sale, namespace: report.namespace, name: report.name, uid: Some(report.uid), status }
}
