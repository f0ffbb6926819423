use onsale_planner::{plan::Times, snapshot::SaleId};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sale(extra: serde_json::Value) -> Sale {
    let mut spec = json!({"opensAt": "2026-12-05T10:00:00Z", "workloads": [{"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 40}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    let id = SaleId { namespace: "shop".into(), name: "tour".into() };
    let spec = serde_json::from_value(spec).unwrap();
    Sale { generation: 3, protected: true, ..Sale::new(id, spec, at("2026-12-01T00:00:00Z")) }
}

fn plan(phase: Phase) -> SalePlan {
    let times = Times {
        opens_at: at("2026-12-05T10:00:00Z"),
        ready_by: at("2026-12-05T09:50:00Z"),
        starts_at: at("2026-12-05T09:40:00Z"),
        ends_at: at("2026-12-05T11:00:00Z"),
    };
    SalePlan {
        looked_at_from: None,
        id: SaleId { namespace: "shop".into(), name: "tour".into() },
        phase,
        entered: Default::default(),
        times: Some(times),
        predicted_ready_at: Some(at("2026-12-05T09:45:00Z")),
        all_ready: matches!(phase, Phase::Ready | Phase::Live),
        invalid: None,
        waiting_for: Vec::new(),
        unplaced: 0,
        cost: Default::default(),
        pools: Default::default(),
        late_start: false,
        frozen: None,
        next: None,
    }
}

struct Setup {
    sale: Sale,
    plan: SalePlan,
    waiting: Vec<Waiting>,
    now: Timestamp,
}

fn setup(phase: Phase) -> Setup {
    Setup { sale: sale(json!({})), plan: plan(phase), waiting: Vec::new(), now: at("2026-12-05T09:30:00Z") }
}

impl Setup {
    fn case(&self) -> Case<'_> {
        Case { sale: &self.sale, plan: &self.plan, waiting: &self.waiting, contests: &[], now: self.now }
    }
    /// Ready, Reconciling, Stalled, Feasible, AtRisk, Contested as letters.
    fn letters(&self) -> String {
        let letter = |v: &Verdict| match v.status {
            Some(true) => 'T',
            Some(false) => 'F',
            None => '?',
        };
        verdicts(&self.case()).iter().map(letter).collect()
    }
}

fn short(reason: Reason) -> Waiting {
    Waiting { reason, message: "no capacity for c6i.large".into(), until: None }
}

#[test]
fn every_phase_has_its_conditions() {
    for (phase, letters) in [
        (Phase::Scheduled, "TFFTFF"),
        (Phase::Preparing, "FTFTFF"),
        (Phase::Ready, "TFFTFF"),
        (Phase::Live, "TFFTFF"),
        (Phase::Returning, "FTF?FF"),
        (Phase::Completed, "TFFTFF"),
        (Phase::Missed, "TFFFFF"),
        (Phase::Cancelled, "TFFTFF"),
        (Phase::Invalid, "FFTFFF"),
    ] {
        assert_eq!(setup(phase).letters(), letters, "{phase:?}");
    }
}

#[test]
fn what_opens_in_months_is_neither_a_go_nor_a_no_go_yet() {
    let mut s = setup(Phase::Scheduled);
    (s.plan.looked_at_from, s.plan.predicted_ready_at) = (Some(at("2026-11-04T09:50:00Z")), None);
    assert_eq!(s.letters(), "TFF?FF");
    let feasible = feasible(&s.case());
    assert_eq!(
        (feasible.reason, feasible.message.as_str()),
        (Reason::TooFarAhead, "looked at from 2026-11-04T09:50:00Z on; kubectl onsale plan tells now")
    );
}

#[test]
fn replicas_without_a_place_are_a_no_go_days_ahead() {
    let mut s = setup(Phase::Scheduled);
    s.plan.unplaced = 12;
    s.waiting = vec![short(Reason::BudgetReached)];
    assert_eq!(s.letters(), "FFFFTF");
    assert_eq!(feasible(&s.case()).reason, Reason::BudgetReached);
    assert!(feasible(&s.case()).message.starts_with("12 replicas find no place: no capacity"));
}

#[test]
fn a_prediction_past_ready_by_is_a_risk_at_once() {
    let mut s = setup(Phase::Preparing);
    s.plan.predicted_ready_at = Some(at("2026-12-05T09:50:01Z"));
    assert_eq!(s.letters(), "FTFFTF");
    assert_eq!(at_risk(&s.case()).reason, Reason::LeadTimeTooLong);
}

#[test]
fn plan_mode_inside_the_lead_time_is_a_risk() {
    let mut s = setup(Phase::Scheduled);
    s.sale = sale(json!({"mode": "Plan"}));
    assert_eq!((ready(&s.case()).reason, at_risk(&s.case()).status), (Reason::PlanOnly, Some(false)));
    s.now = at("2026-12-05T09:40:00Z");
    assert_eq!((at_risk(&s.case()).reason, at_risk(&s.case()).status), (Reason::PlanOnly, Some(true)));
}

#[test]
fn a_held_sale_waits_for_a_person() {
    let mut s = setup(Phase::Preparing);
    s.sale = sale(json!({"onShortfall": "Hold"}));
    s.plan.unplaced = 3;
    assert_eq!(s.letters(), "FFTFTF");
    assert_eq!(stalled(&s.case()).reason, Reason::Held);
}

#[test]
fn a_sale_that_opened_unready_says_so_until_it_is() {
    let mut s = setup(Phase::Live);
    s.plan.all_ready = false;
    assert_eq!((at_risk(&s.case()).reason, ready(&s.case()).status), (Reason::OpenedUnready, Some(false)));
    assert_eq!(at_risk(&s.case()).message, "opened before everything was Ready: replicas are not Ready yet");
}

#[test]
fn policies_that_are_not_in_force_are_a_risk_as_soon_as_they_are_known() {
    let mut s = setup(Phase::Preparing);
    s.waiting = vec![Waiting { reason: Reason::PolicyIneffective, message: "no stamp".into(), until: None }];
    let risk = at_risk(&s.case());
    assert_eq!((risk.status, risk.reason, risk.message.as_str()), (Some(true), Reason::PolicyIneffective, "no stamp"));
    s.plan.phase = Phase::Ready;
    assert_eq!(at_risk(&s.case()).status, Some(false));
}

#[test]
fn go_or_no_go_stays_as_it_was_on_the_way_back() {
    let mut s = setup(Phase::Returning);
    let before = feasible(&setup(Phase::Live).case());
    s.sale.status.conditions = vec![onsale_api::conditions::condition(&[], before, Some(3), s.now)];
    assert_eq!((feasible(&s.case()).status, feasible(&s.case()).reason), (Some(true), Reason::Live));
}

#[test]
fn every_reason_is_read_back_as_written() {
    assert_eq!(parse_reason(&Reason::ForeignRaise.to_string()), Some(Reason::ForeignRaise));
    assert_eq!(parse_reason("Nonsense"), None);
}
