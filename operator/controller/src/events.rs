//! Events for people, on transitions only: kube's Recorder reads the wall clock and keeps the first note of a series, so this is our own.
//!
//! They are queued and written by a task of their own: a slow events API delays no sale, and a full queue drops the newest, counted.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::api::{Api, PostParams};
use onsale_api::{Reason, names};
use tokio::sync::{Mutex, mpsc};

use crate::context::Context;

/// A night of a hundred workloads makes a few hundred events; more at once is a fault.
const QUEUE: usize = 1024;
/// The API server refuses longer notes.
const LONGEST_NOTE: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object that it happened to.
    pub about: ObjectReference,
    /// Why, or what.
    pub reason: Reason,
    /// Worth a look.
    pub warning: bool,
    /// A sentence.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// The queue of events.
pub struct Events {
    sender: mpsc::Sender<Note>,
    receiver: Mutex<mpsc::Receiver<Note>>,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Events {
    /// Queues an event. Returns whether there was room.
    pub fn say(&self, note: Note) -> bool {
        self.sender.try_send(note).is_ok()
    }
}

/// Writes what is queued, for ever.
pub async fn deliver(context: Arc<Context>) {
    let mut receiver = context.events.receiver.lock().await;
    let mut count = 0_u64;
    while let Some(note) = receiver.recv().await {
        count += 1;
        let event = event(note, &context.config.instance, count);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(context.client.clone(), &namespace);
        if let Err(error) = context.call("write an event", api.create(&PostParams::default(), &event)).await {
            context.metrics().event_dropped();
            tracing::debug!(%error, "event lost");
        }
    }
}

fn event(note: Note, instance: &str, count: u64) -> Event {
    let name = note.about.name.clone().unwrap_or_default();
    // Events about cluster-scoped objects live in `default`, where kubectl describe looks for them.
    let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}.{count:x}", note.at.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(note.at)),
        action: Some(note.reason.to_string()),
        reason: Some(note.reason.to_string()),
        note: Some(note.text.chars().take(LONGEST_NOTE).collect()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        regarding: Some(note.about),
        reporting_controller: Some(names::MANAGER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        ..Event::default()
    }
}

/// A reference to an object by its parts.
#[must_use]
pub fn reference(api_version: &str, kind: &str, namespace: Option<&str>, name: &str, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

/// A reference to an OnSale.
#[must_use]
pub fn sale(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    reference("onsale.dev/v1alpha1", "OnSale", Some(namespace), name, Some(uid))
}

/// A reference to a CapacityPool.
#[must_use]
pub fn pool(name: &str, uid: &str) -> ObjectReference {
    reference("onsale.dev/v1alpha1", "CapacityPool", None, name, Some(uid))
}
