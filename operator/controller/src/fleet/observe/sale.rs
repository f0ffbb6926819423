//! OnSales in brief. Most that a cluster knows are over, or months away: those are [`asleep`](super::asleep).

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use onsale_api::OnSale;
use onsale_planner::{
    objects::own,
    snapshot::{Sale, SaleId, Settings},
};

use super::{asleep::Asleep, store::Record};
use crate::metrics::Kind;

/// What is kept of an OnSale.
#[derive(Debug)]
pub struct SaleRecord {
    state: State,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

#[derive(Clone, Debug)]
enum State {
    /// It never was readable.
    Unread,
    /// In a box: most are not.
    Awake(Box<Sale>),
    Asleep(Asleep),
}

/// A record, as a pass finds it.
#[derive(Debug)]
pub enum Found<'a> {
    /// Something may have to be done.
    Awake(Sale),
    /// Nothing, and whether that is told.
    Asleep(&'a Asleep),
    /// Nobody knows.
    Unread,
}

/// A sale that sleeps and was not told so yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Namespace and name.
    pub id: SaleId,
    /// UID.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
}

impl SaleRecord {
    /// The sale at an instant.
    pub fn find(&self, id: &SaleId, uid: &str, settings: &Settings, now: Timestamp) -> Found<'_> {
        match &self.state {
            State::Unread => Found::Unread,
            State::Awake(sale) => Found::Awake(Sale::clone(sale)),
            State::Asleep(asleep) if asleep.sleeps(settings, now) => Found::Asleep(asleep),
            State::Asleep(asleep) => asleep.wake(id, uid).map_or(Found::Unread, Found::Awake),
        }
    }

    /// The whole sale, as long as it is as it was found.
    #[must_use]
    pub fn wake(&self, untold: &Untold) -> Option<Sale> {
        match &self.state {
            State::Asleep(asleep) if !asleep.told && asleep.generation == untold.generation => asleep.wake(&untold.id, &untold.uid),
            _ => None,
        }
    }
}

impl Record for SaleRecord {
    type Object = DeserializeGuard<OnSale>;
    const KIND: Kind = Kind::OnSale;

    fn fold(previous: Option<&Self>, object: DeserializeGuard<OnSale>) -> Self {
        match object.0 {
            Ok(object) => {
                let state = Asleep::of(&object).map_or_else(|| State::Awake(Box::new(awake(previous, &object))), State::Asleep);
                Self { state, unreadable: None }
            }
            Err(invalid) => Self { state: previous.map_or(State::Unread, |p| p.state.clone()), unreadable: Some(invalid.error) },
        }
    }

    /// Status is written by us alone: a change of it is no news, and would make every write cost another pass.
    fn matters(&self, previous: &Self) -> bool {
        self.unreadable != previous.unreadable
            || match (&self.state, &previous.state) {
                (State::Awake(a), State::Awake(b)) => {
                    a.spec != b.spec
                        || (a.generation, a.deleting, a.protected, a.return_now) != (b.generation, b.deleting, b.protected, b.return_now)
                }
                // It was told where it stands, and was neither deleting nor protected before.
                (State::Awake(a), State::Asleep(b)) if !b.told => {
                    (a.generation, a.deleting, a.protected, a.return_now) != (b.generation, false, false, b.return_now)
                }
                (State::Asleep(a), State::Asleep(b)) => a.generation != b.generation,
                // It was told to be over, or far, as it is.
                (State::Asleep(a), State::Awake(b)) => a.generation != b.generation,
                (State::Unread, State::Unread) => false,
                _ => true,
            }
    }
}

/// A spec that did not change is kept once: passes hold the sale as it was before.
fn awake(previous: Option<&SaleRecord>, object: &OnSale) -> Sale {
    let meta = &object.metadata;
    let id = SaleId { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() };
    let mut sale = own::sale(id, meta.uid.as_deref().unwrap_or_default(), object);
    if let Some(State::Awake(before)) = previous.map(|p| &p.state)
        && before.spec == sale.spec
    {
        sale.spec = before.spec.clone();
    }
    sale
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(generation: i64, spec: &Value, status: &Value) -> DeserializeGuard<OnSale> {
        serde_json::from_value(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale",
            "metadata": {"name": "tour", "namespace": "shop", "uid": "u", "generation": generation}, "spec": spec, "status": status}))
        .unwrap()
    }

    fn record(generation: i64, status: &Value) -> SaleRecord {
        let workloads = json!([{"target": {"kind": "Deployment", "name": "a"}, "peakReplicas": 3}]);
        SaleRecord::fold(None, object(generation, &json!({"opensAt": "2026-12-05T10:00:00Z", "workloads": workloads}), status))
    }

    fn status(phase: &str, reason: &str) -> Value {
        let feasible =
            json!({"type": "Feasible", "status": "Unknown", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"phase": phase, "observedGeneration": 2, "readyBy": "2026-12-05T09:50:00Z", "endsAt": "2026-12-05T11:00:00Z", "conditions": [feasible]})
    }

    fn is_awake(record: &SaleRecord, now: &str) -> bool {
        let id = SaleId { namespace: "shop".to_owned(), name: "tour".to_owned() };
        matches!(record.find(&id, "u", &Settings::default(), now.parse().unwrap()), Found::Awake(sale) if sale.spec.workloads.len() == 1)
    }

    #[test]
    fn what_is_far_sleeps_until_the_horizon_reaches_it_and_wakes_whole() {
        let far = record(2, &status("Scheduled", "TooFarAhead"));
        assert!(!is_awake(&far, "2026-11-04T09:49:59Z"));
        assert!(is_awake(&far, "2026-11-04T09:50:00Z"));
        assert!(is_awake(&record(2, &status("Scheduled", "Scheduled")), "2026-01-01T00:00:00Z"), "it was looked at");
    }

    #[test]
    fn what_is_new_sleeps_untold_outside_its_time_and_is_awake_within_it() {
        let id = SaleId { namespace: "shop".to_owned(), name: "tour".to_owned() };
        let new = record(2, &json!({}));
        for (now, untold) in [
            ("2026-11-04T09:49:59Z", true),
            ("2026-11-04T09:50:00Z", false),
            ("2026-12-05T10:59:59Z", false),
            ("2026-12-05T11:00:00Z", true),
        ] {
            let found = new.find(&id, "u", &Settings::default(), now.parse().unwrap());
            assert_eq!(matches!(found, Found::Asleep(asleep) if !asleep.told), untold, "{now}");
        }
        let told = record(2, &status("Scheduled", "TooFarAhead"));
        assert!(matches!(told.find(&id, "u", &Settings::default(), "2026-11-01T00:00:00Z".parse().unwrap()), Found::Asleep(a) if a.told));
        let edited = record(3, &status("Scheduled", "TooFarAhead"));
        let untold = |generation| Untold { id: id.clone(), uid: "u".to_owned(), generation };
        assert!(edited.wake(&untold(3)).is_some_and(|sale| sale.generation == 3 && sale.status.phase.is_some()));
        assert!(edited.wake(&untold(2)).is_none() && told.wake(&untold(2)).is_none(), "it is not as it was found");
    }

    #[test]
    fn that_it_was_told_where_it_stands_is_no_news_and_that_it_is_protected_is() {
        let (new, near) = (record(2, &json!({})), record(2, &status("Scheduled", "Scheduled")));
        assert!(!near.matters(&new) && !record(2, &status("Scheduled", "TooFarAhead")).matters(&new));
        let State::Awake(sale) = near.state else { panic!("it is near") };
        let protected = SaleRecord { state: State::Awake(Box::new(Sale { protected: true, ..*sale })), unreadable: None };
        assert!(protected.matters(&new));
    }

    #[test]
    fn a_spec_that_did_not_change_is_kept_once() {
        let first = record(2, &status("Scheduled", "Scheduled"));
        let spec = |record: &SaleRecord| match &record.state {
            State::Awake(sale) => sale.spec.clone(),
            _ => panic!("it is near"),
        };
        let object = |peak: i32| {
            let workloads = json!([{"target": {"kind": "Deployment", "name": "a"}, "peakReplicas": peak}]);
            object(2, &json!({"opensAt": "2026-12-05T10:00:00Z", "workloads": workloads}), &status("Ready", "AllReady"))
        };
        let same = |peak| std::ptr::eq(&raw const *spec(&first), &raw const *spec(&SaleRecord::fold(Some(&first), object(peak))));
        assert!(same(3) && !same(4));
    }

    #[test]
    fn what_is_over_sleeps_for_ever_unless_it_is_edited() {
        let mut completed = status("Completed", "Completed");
        completed["entered"] = json!({"live": "2026-12-05T10:00:00Z"});
        assert!(!is_awake(&record(2, &completed), "2026-12-05T10:30:00Z"));
        assert!(is_awake(&record(3, &completed), "2026-12-05T10:30:00Z"));
        assert!(record(3, &completed).matters(&record(2, &completed)));
        assert!(!record(2, &completed).matters(&record(2, &status("Returning", "Returning"))));
    }

    #[test]
    fn what_never_opened_may_have_been_ended_by_a_wrong_clock() {
        for phase in ["Missed", "Completed"] {
            let ended = record(2, &status(phase, phase));
            assert!(is_awake(&ended, "2026-12-05T09:00:00Z") && is_awake(&ended, "2026-12-06T10:59:59Z"));
            assert!(!is_awake(&ended, "2026-12-06T11:00:00Z"));
        }
    }

    #[test]
    fn an_object_that_becomes_unreadable_keeps_its_last_readable_state() {
        let first = record(2, &json!({}));
        let bad = SaleRecord::fold(Some(&first), object(2, &json!({"opensAt": 7}), &json!({})));
        assert!(is_awake(&bad, "2026-12-05T09:00:00Z") && bad.unreadable.is_some() && bad.matters(&first));
        let never = SaleRecord::fold(None, object(2, &json!({"opensAt": 7}), &json!({})));
        assert!(matches!(never.state, State::Unread));
    }

    #[test]
    fn a_change_of_status_alone_is_no_news() {
        assert!(!record(2, &json!({"phase": "Scheduled"})).matters(&record(2, &json!({}))));
    }
}
