//! OnSales in brief. Most that a cluster knows are over, or months away: those sleep, as the text of what they say, and cost a pass nothing.

use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use onsale_api::{OnSale, OnSaleStatus, Phase, Reason, conditions::types};
use onsale_planner::{
    objects::own,
    snapshot::{Sale, SaleId, Settings},
};

use super::store::Record;
use crate::metrics::Kind;

/// A sale whose window passed unseen is looked at for so long still: the machine's clock may have been wrong.
const DOUBT: SignedDuration = SignedDuration::from_hours(24);

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
    Awake(Sale),
    Asleep(Asleep),
}

/// A sale that nothing has to be done about, for now or for ever.
#[derive(Clone, Debug)]
struct Asleep {
    phase: Phase,
    until: Until,
    generation: i64,
    /// The object as JSON; empty where it is never looked at again.
    text: Box<str>,
}

/// What wakes it, besides a change of the object.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Nothing: it is over, and told to be.
    Never,
    /// The clock going back to its window, or close behind it.
    Before(Timestamp),
    /// The horizon reaching its ready-by.
    Near(Timestamp),
}

impl Asleep {
    /// Whether everything that can be said of the object has been said in its status, and until when that stays so.
    fn of(object: &OnSale) -> Option<Self> {
        let (meta, status) = (&object.metadata, object.status.as_ref()?);
        if meta.deletion_timestamp.is_some() || own::is_protected(meta) || status.observed_generation != meta.generation {
            return None;
        }
        let until = match status.phase? {
            Phase::Completed if status.entered.live.is_some() => Until::Never,
            Phase::Cancelled => Until::Never,
            Phase::Completed | Phase::Missed => Until::Before(status.ends_at.as_ref()?.0.checked_add(DOUBT).ok()?),
            Phase::Scheduled if is_far(status) => Until::Near(status.ready_by.as_ref()?.0),
            _ => return None,
        };
        let text = if matches!(until, Until::Never) { String::new() } else { serde_json::to_string(object).ok()? };
        Some(Self { phase: status.phase?, until, generation: meta.generation.unwrap_or_default(), text: text.into() })
    }

    fn sleeps(&self, settings: &Settings, now: Timestamp) -> bool {
        match self.until {
            Until::Never => true,
            Until::Before(instant) => now >= instant,
            Until::Near(ready_by) => ready_by.duration_since(now) > settings.horizon,
        }
    }
}

fn is_far(status: &OnSaleStatus) -> bool {
    let reason = Reason::TooFarAhead.to_string();
    status.conditions.iter().any(|c| c.type_ == types::FEASIBLE && c.reason == reason)
}

/// A record, as a pass finds it.
#[derive(Debug)]
pub enum Found {
    /// Something may have to be done.
    Awake(Sale),
    /// Nothing, in this phase.
    Asleep(Phase),
    /// Nobody knows.
    Unread,
}

impl SaleRecord {
    /// The sale at an instant.
    pub fn find(&self, id: &SaleId, uid: &str, settings: &Settings, now: Timestamp) -> Found {
        match &self.state {
            State::Unread => Found::Unread,
            State::Awake(sale) => Found::Awake(sale.clone()),
            State::Asleep(asleep) if asleep.sleeps(settings, now) => Found::Asleep(asleep.phase),
            State::Asleep(asleep) => match serde_json::from_str(&asleep.text) {
                Ok(object) => Found::Awake(own::sale(id.clone(), uid, &object)),
                Err(_) => Found::Unread,
            },
        }
    }
}

impl Record for SaleRecord {
    type Object = DeserializeGuard<OnSale>;
    const KIND: Kind = Kind::OnSale;

    fn fold(previous: Option<&Self>, object: DeserializeGuard<OnSale>) -> Self {
        match object.0 {
            Ok(mut object) => {
                object.metadata.managed_fields = None;
                let state = Asleep::of(&object).map_or_else(|| State::Awake(awake(&object)), State::Asleep);
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
                (State::Asleep(a), State::Asleep(b)) => a.generation != b.generation,
                // It was told to be over, or far, as it is.
                (State::Asleep(a), State::Awake(b)) => a.generation != b.generation,
                (State::Unread, State::Unread) => false,
                _ => true,
            }
    }
}

fn awake(object: &OnSale) -> Sale {
    let meta = &object.metadata;
    let id = SaleId { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() };
    own::sale(id, meta.uid.as_deref().unwrap_or_default(), object)
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
