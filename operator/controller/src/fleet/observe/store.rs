//! One store per kind: slim records, updated by each event, never listed by a pass. Not kube's: those lose deletes and can stall.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, runtime::watcher::Event};
use onsale_planner::objects::pod::Common;
use serde::de::DeserializeOwned;

use crate::metrics::Kind;

/// What is kept of an object.
pub trait Record: Sized + Send + 'static {
    /// The object as the API has it.
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static;
    /// What it is, for metrics and logs.
    const KIND: Kind;
    /// Makes the record; the previous one is there for what cannot be read any more.
    fn fold(previous: Option<&Self>, object: Self::Object) -> Self;
    /// Keeps once what other records say alike.
    fn share(&mut self, _: &mut Common) {}
    /// Whether the change is worth a pass.
    fn matters(&self, previous: &Self) -> bool;
}

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// A record with the version of the object that it was made from.
#[derive(Clone, Debug)]
pub struct Entry<R> {
    /// UID of the object.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// The record.
    pub record: R,
}

/// Records by name. Each in a box: a map that grows at its end leaves half of its slots empty.
pub type Entries<R> = BTreeMap<Key, Box<Entry<R>>>;

/// All records of one kind.
pub struct Store<R>(Mutex<Inner<R>>);

struct Inner<R> {
    /// `None` until the watch has listed once.
    items: Option<Entries<R>>,
    incoming: Entries<R>,
    common: Common,
}

impl<R> Default for Store<R> {
    fn default() -> Self {
        Self(Mutex::new(Inner { items: None, incoming: BTreeMap::new(), common: Common::default() }))
    }
}

fn key(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Whether `event` is an older state of the same object than `kept`: an event that was on its way while we wrote. Versions that are not
/// numbers are never older.
fn is_older(event: (&str, &str), kept: (&str, &str)) -> bool {
    let number = |text: &str| text.parse::<u128>().ok();
    event.0 == kept.0 && number(event.1).zip(number(kept.1)).is_some_and(|(e, k)| e < k)
}

impl<R: Record> Store<R> {
    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds one event of the watch. Returns whether it is worth a pass.
    pub fn fold(&self, event: Event<R::Object>) -> bool {
        let mut inner = self.lock();
        let Inner { items, incoming, common } = &mut *inner;
        match event {
            Event::Init => {
                incoming.clear();
                false
            }
            Event::InitApply(object) => {
                let key = key(object.meta());
                let entry = entry(items.as_ref().and_then(|items| items.get(&key)).map(|e| &**e), object, common);
                incoming.insert(key, Box::new(entry));
                false
            }
            Event::InitDone => {
                *items = Some(std::mem::take(incoming));
                true
            }
            Event::Apply(object) => apply(items.get_or_insert_default(), object, common),
            Event::Delete(object) => {
                let (key, uid) = (key(object.meta()), object.meta().uid.as_deref().unwrap_or_default());
                let items = items.get_or_insert_default();
                if items.get(&key).is_some_and(|e| e.uid == uid) { items.remove(&key).is_some() } else { false }
            }
        }
    }

    /// Takes the answer to our own write, so that the next pass sees it. Does nothing before the first list.
    pub fn written(&self, object: R::Object) {
        let mut inner = self.lock();
        let Inner { items, common, .. } = &mut *inner;
        if let Some(items) = items {
            apply(items, object, common);
        }
    }

    /// Takes what our own write through a subresource said: a change of a part of the record, and the version of the object that has it.
    pub fn adjusted(&self, namespace: &str, name: &str, version: Option<&str>, change: impl FnOnce(&mut R)) {
        let key = (namespace.to_owned(), name.to_owned());
        if let (Some(entry), Some(version)) = (self.lock().items.as_mut().and_then(|items| items.get_mut(&key)), version) {
            change(&mut entry.record);
            version.clone_into(&mut entry.version);
        }
    }

    /// Takes it that our own delete was carried out: nothing is written to what is gone. The watch puts back what another's finalizer holds.
    pub fn removed(&self, namespace: &str, name: &str) {
        if let Some(items) = self.lock().items.as_mut() {
            items.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Whether the watch has listed once.
    pub fn listed(&self) -> bool {
        self.lock().items.is_some()
    }

    /// Reads the records; `None` until the watch has listed once: unknown, not empty.
    pub fn read<T>(&self, read: impl FnOnce(&Entries<R>) -> T) -> Option<T> {
        self.lock().items.as_ref().map(read)
    }

    /// Reads one record.
    pub fn get<T>(&self, namespace: &str, name: &str, read: impl FnOnce(&Entry<R>) -> T) -> Option<T> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().items.as_ref()?.get(&key).map(|entry| read(entry))
    }
}

fn entry<R: Record>(previous: Option<&Entry<R>>, object: R::Object, common: &mut Common) -> Entry<R> {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let version = object.meta().resource_version.clone().unwrap_or_default();
    let previous = previous.filter(|p| p.uid == uid).map(|p| &p.record);
    let mut record = R::fold(previous, object);
    record.share(common);
    Entry { uid, version, record }
}

fn apply<R: Record>(items: &mut Entries<R>, object: R::Object, common: &mut Common) -> bool {
    let key = key(object.meta());
    let previous = items.get(&key).map(|e| &**e);
    let meta = object.meta();
    let (uid, version) = (meta.uid.as_deref().unwrap_or_default(), meta.resource_version.as_deref().unwrap_or_default());
    if previous.is_some_and(|p| is_older((uid, version), (&p.uid, &p.version))) {
        return false;
    }
    let new = entry(previous, object, common);
    let matters = previous.is_none_or(|p| p.uid != new.uid || new.record.matters(&p.record));
    items.insert(key, Box::new(new));
    matters
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::json;

    use super::*;
    use crate::fleet::observe::namespace::NamespaceRecord;

    fn namespace(version: &str, team: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": "shop", "uid": "u", "resourceVersion": version, "labels": {"team": team}}}))
            .unwrap()
    }

    fn team(store: &Store<NamespaceRecord>) -> Option<String> {
        store.get("", "shop", |e| e.record.labels["team"].clone())
    }

    #[test]
    fn is_unknown_until_listed_and_keeps_the_old_list_while_listing_again() {
        let store = Store::<NamespaceRecord>::default();
        assert!(!store.fold(Event::Init));
        assert!(!store.fold(Event::InitApply(namespace("5", "a"))));
        assert!(!store.listed());
        assert!(store.fold(Event::InitDone));
        store.fold(Event::Init);
        assert_eq!(team(&store).as_deref(), Some("a"));
        store.fold(Event::InitDone);
        assert_eq!(team(&store), None);
    }

    #[test]
    fn an_event_that_was_on_its_way_does_not_undo_our_own_write() {
        let store = Store::<NamespaceRecord>::default();
        store.fold(Event::InitDone);
        store.written(namespace("9", "ours"));
        assert!(!store.fold(Event::Apply(namespace("7", "older"))));
        assert_eq!(team(&store).as_deref(), Some("ours"));
        assert!(!store.fold(Event::Apply(namespace("10", "ours"))));
        assert!(store.fold(Event::Apply(namespace("11", "newer"))));
    }

    #[test]
    fn what_we_deleted_is_gone_before_its_event_and_comes_back_where_a_finalizer_holds_it() {
        let store = Store::<NamespaceRecord>::default();
        store.fold(Event::InitDone);
        store.written(namespace("9", "ours"));
        store.removed("", "shop");
        assert_eq!(team(&store), None);
        assert!(store.fold(Event::Apply(namespace("10", "held"))));
        assert_eq!(team(&store).as_deref(), Some("held"));
    }
}
