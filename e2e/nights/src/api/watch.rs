//! Watches: who listens, what was lately, and the stream of JSON lines that an answer is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, Sleep, sleep_until},
};

use super::{failure::Failure, kinds::Kind, select::Selection, store::Event};

/// How many events are kept for watches that begin in the past.
const HISTORY: usize = 20_000;

struct Listener {
    kind: Kind,
    selection: Selection,
    controlled: bool,
    /// It has heard of everything up to this version.
    begun: u64,
    sender: UnboundedSender<Late>,
}

/// Everybody who listens, and what was lately.
#[derive(Default)]
pub struct Hub {
    listeners: Vec<Listener>,
    history: VecDeque<Event>,
    /// The newest version that is no longer in the history.
    floor: u64,
    version: u64,
    withheld: BTreeSet<&'static str>,
    late: Vec<Event>,
    lags: BTreeMap<&'static str, Duration>,
    expired: BTreeSet<&'static str>,
}

/// A line, and when it is there.
type Late = (Instant, Bytes);

fn line(event: &Event, selection: &Selection) -> Option<Bytes> {
    let (before, after) = (event.old.as_ref().is_some_and(|o| selection.matches(o)), selection.matches(&event.new));
    let kind = match (before, after && !event.deleted) {
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
        (false, false) => return None,
    };
    let left = (event.old.as_ref()).filter(|_| kind == "DELETED" && !event.deleted).map(|old| {
        // What leaves the selection is shown as it was there, under the version at which it left.
        let mut object = (**old).clone();
        object["metadata"]["resourceVersion"] = event.new["metadata"]["resourceVersion"].clone();
        object
    });
    Some(bytes(&Line { kind, object: left.as_ref().unwrap_or(&event.new) }))
}

/// One line of a watch, written without a copy of the object.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    object: &'a Value,
}

fn bytes(line: &Line<'_>) -> Bytes {
    // A string and a JSON value: neither can fail to be written.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

impl Hub {
    /// Begins at a version of the store.
    pub fn start_at(&mut self, version: u64) {
        (self.floor, self.version) = (version, version);
    }

    /// Tells everybody.
    pub fn publish(&mut self, events: Vec<Event>) {
        for event in events {
            self.version = self.version.max(event.version);
            let withheld = self.withheld.contains(event.kind.plural);
            self.tell(&event, withheld);
            if withheld {
                self.late.push(event.clone());
            }
            self.history.push_back(event);
        }
        while self.history.len() > HISTORY {
            self.floor = self.history.pop_front().map_or(self.floor, |e| e.version);
        }
    }

    fn tell(&mut self, event: &Event, but_controlled: bool) {
        self.listeners.retain(|l| !l.sender.is_closed());
        for listener in self.listeners.iter().filter(|l| l.kind == event.kind && !(but_controlled && l.controlled)) {
            if let Some(line) = line(event, &listener.selection) {
                // A listener that is gone is dropped with the next event.
                let _ = listener.sender.send((self.due(listener), line));
            }
        }
    }

    fn due(&self, listener: &Listener) -> Instant {
        due(&self.lags, listener.kind, listener.controlled)
    }

    /// From now on controllers hear of this kind so much later; zero: at once, but nothing before what is still to come.
    pub fn lag(&mut self, kind: Kind, lag: Duration) {
        self.lags.insert(kind.plural, lag);
    }

    /// Cuts the controllers' watches of this kind; the next one that goes on from where it was gets 410.
    pub fn expire(&mut self, kind: Kind) {
        self.listeners.retain(|l| !(l.controlled && l.kind == kind));
        self.expired.insert(kind.plural);
    }

    /// No watch expires any more that was to.
    pub fn forgive(&mut self) {
        self.expired.clear();
    }

    /// Controllers hear nothing more of this kind, though their watch stays open, until [`Hub::release`].
    pub fn withhold(&mut self, kind: Kind) {
        self.withheld.insert(kind.plural);
    }

    /// Controllers hear what was withheld, in order.
    pub fn release(&mut self) {
        self.withheld.clear();
        for event in std::mem::take(&mut self.late) {
            let missed = |l: &&Listener| l.kind == event.kind && l.controlled && l.begun < event.version;
            for listener in self.listeners.iter().filter(missed) {
                if let Some(line) = line(&event, &listener.selection) {
                    let _ = listener.sender.send((self.due(listener), line));
                }
            }
        }
    }

    /// Cuts every watch.
    pub fn cut(&mut self) {
        self.listeners.clear();
    }

    /// Cuts every watch and forgets the past, so that watches which go on from where they were get 410.
    pub fn compact(&mut self) {
        self.cut();
        self.history.clear();
        self.floor = self.version;
    }

    /// A new watch, from `since` on. Where the history does not reach that far, it is one error event: that is how a real API server says 410 here.
    pub fn listen(&mut self, kind: Kind, selection: Selection, since: Option<u64>, timeout: Duration, controlled: bool) -> Stream {
        let since = since.unwrap_or(self.version);
        let (sender, receiver) = unbounded_channel();
        let end = Box::pin(sleep_until(Instant::now() + timeout));
        let at = due(&self.lags, kind, controlled);
        if since < self.floor || controlled && self.expired.remove(kind.plural) {
            let line = bytes(&Line { kind: "ERROR", object: &Failure::expired().status() });
            let _ = sender.send((Instant::now(), line));
            return Stream { receiver, end, next: None, wait: None };
        }
        let past = self.history.partition_point(|e| e.version <= since);
        for event in self.history.range(past..).filter(|e| e.kind == kind) {
            if let Some(line) = line(event, &selection) {
                let _ = sender.send((at, line));
            }
        }
        // Behind what is past already: the watch may be cut before it is read.
        let _ = sender.send((at, bookmark(kind, self.version)));
        self.listeners.push(Listener { kind, selection, controlled, begun: self.version, sender });
        Stream { receiver, end, next: None, wait: None }
    }
}

fn bookmark(kind: Kind, version: u64) -> Bytes {
    let object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"resourceVersion": version.to_string()}});
    bytes(&Line { kind: "BOOKMARK", object: &object })
}

fn due(lags: &BTreeMap<&'static str, Duration>, kind: Kind, controlled: bool) -> Instant {
    let lag = lags.get(kind.plural).copied().filter(|_| controlled);
    Instant::now() + lag.unwrap_or_default()
}

/// A watch's answer: lines until the time is over.
pub struct Stream {
    receiver: UnboundedReceiver<Late>,
    end: Pin<Box<Sleep>>,
    next: Option<Late>,
    wait: Option<Pin<Box<Sleep>>>,
}

/// The body of an answer.
pub enum Reply {
    /// All at once.
    Whole(Option<Bytes>),
    /// As it happens.
    Watch(Stream),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Watch(stream) => stream.poll(cx),
        };
        frame.map(|line| line.map(|b| Ok(Frame::data(b))))
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.next.is_none() {
            match self.receiver.poll_recv(cx) {
                Poll::Ready(Some(next)) => self.next = Some(next),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return self.end.as_mut().poll(cx).map(|()| None),
            }
        }
        let due = self.next.as_ref().map_or_else(Instant::now, |(due, _)| *due);
        if due > Instant::now() && self.wait.get_or_insert_with(|| Box::pin(sleep_until(due))).as_mut().poll(cx).is_pending() {
            return self.end.as_mut().poll(cx).map(|()| None);
        }
        self.wait = None;
        Poll::Ready(self.next.take().map(|(_, line)| line))
    }
}
