//! Phases agree with the instants, and the instants with the spec.

use jiff::Timestamp;
use onsale_api::{
    Phase,
    onsale::{Entered, Mode},
    time,
};
use onsale_planner::{
    plan::{SalePlan, Times},
    snapshot::Sale,
};

use crate::{Rule, Violation, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (sale, plan) in view.sales() {
        match &plan.times {
            Some(times) => {
                instants(sale, times, plan.phase == Phase::Scheduled, found);
                if let Some(why) = contradiction(sale, plan, times, view.now) {
                    found.push(Violation::new(Rule::Phases, &sale.id, format!("{:?} at {}: {why}; {times:?}", plan.phase, view.now)));
                }
            }
            None if plan.phase.holds() || plan.phase == Phase::Scheduled => {
                found.push(Violation::new(Rule::Times, &sale.id, format!("{:?} without instants", plan.phase)));
            }
            None => {}
        }
        entered(view, sale, plan, found);
    }
}

/// The start of a sale that has started is when it did, wherever `opensAt` has moved since.
fn instants(sale: &Sale, times: &Times, scheduled: bool, found: &mut Vec<Violation>) {
    let Ok(opens_at) = time::resolve(&sale.spec.opens_at, sale.spec.time_zone.as_deref()) else {
        found.push(Violation::new(Rule::Times, &sale.id, "instants, though opensAt names none"));
        return;
    };
    let ready_by = opens_at.checked_sub(sale.spec.ready_before.get());
    let ends_at = opens_at.checked_add(sale.spec.duration.get());
    // A Live sale cannot move: what was entered counts then, not the spec.
    let moved = sale.status.phase == Some(Phase::Live) && sale.status.opens_at.as_ref().is_some_and(|t| t.0 != opens_at);
    let right = times.opens_at == opens_at && Ok(times.ready_by) == ready_by.map_err(drop) && Ok(times.ends_at) == ends_at.map_err(drop);
    if !moved && !right {
        found.push(Violation::new(Rule::Times, &sale.id, format!("{times:?} do not follow from opensAt {opens_at}")));
    }
    if times.starts_at > times.ready_by && scheduled {
        found.push(Violation::new(
            Rule::Times,
            &sale.id,
            format!("preparing starts at {}, after ready-by {}", times.starts_at, times.ready_by),
        ));
    }
}

/// Why the phase cannot be at this instant.
fn contradiction(sale: &Sale, plan: &SalePlan, times: &Times, now: Timestamp) -> Option<&'static str> {
    let was = sale.status.phase.unwrap_or_default();
    let called_off = sale.deleting || sale.spec.suspend;
    let over = now >= times.ends_at;
    match plan.phase {
        Phase::Scheduled if called_off => Some("called off"),
        Phase::Scheduled if over && sale.spec.mode == Mode::Live => Some("the window is over"),
        // One that came back in this very pass starts in the next.
        Phase::Scheduled if sale.spec.mode == Mode::Live && was != Phase::Returning && now >= times.starts_at => {
            Some("preparing should have started")
        }
        Phase::Preparing | Phase::Ready | Phase::Live if called_off => Some("called off"),
        Phase::Preparing | Phase::Ready | Phase::Live if sale.spec.mode == Mode::Plan && !was.is_active() => Some("mode Plan does not act"),
        Phase::Preparing if now < times.starts_at && !was.holds() => Some("before the computed start"),
        Phase::Preparing | Phase::Ready if now >= times.opens_at => Some("the sale is open"),
        Phase::Live if now < times.opens_at => Some("the sale is not open"),
        Phase::Live if over => Some("the window is over"),
        Phase::Returning if !was.is_active() => Some("nothing was done that could be undone"),
        Phase::Returning if was == Phase::Live && !called_off && !over => Some("the sale is open"),
        Phase::Completed if !was.is_active() && was != Phase::Completed => Some("nothing was done that could be completed"),
        Phase::Completed if !over && was != Phase::Completed => Some("the window is not over"),
        Phase::Missed if !over && was != Phase::Missed => Some("the window is not over"),
        Phase::Missed if was.is_active() => Some("the sale was active"),
        Phase::Cancelled if !called_off && was != Phase::Cancelled => Some("nobody called it off"),
        _ => None,
    }
}

fn entered(view: &View<'_>, sale: &Sale, plan: &SalePlan, found: &mut Vec<Violation>) {
    let instants =
        |e: &Entered| -> Vec<Timestamp> { [&e.preparing, &e.live, &e.returning, &e.finished].into_iter().flatten().map(|t| t.0).collect() };
    let (e, was) = (&plan.entered, &sale.status.entered);
    let known = instants(e);
    // Ready is when everything was first Ready: that may be after the opening.
    let ready = e.ready.as_ref().is_some_and(|t| t.0 > view.now || known.first().is_none_or(|first| t.0 < *first));
    // What was recorded ahead of now was recorded by a clock that was ahead: that is no fault of this plan.
    let by_another_clock = instants(was).iter().any(|t| *t > view.now);
    if !by_another_clock && (ready || !known.is_sorted() || known.last().is_some_and(|last| *last > view.now)) {
        found.push(Violation::new(Rule::Phases, &sale.id, format!("phases were entered in no order, or will be: {e:?}")));
    }
    let missing = match plan.phase {
        Phase::Preparing => e.preparing.is_none(),
        Phase::Ready => e.ready.is_none(),
        Phase::Live => e.live.is_none(),
        Phase::Returning => e.returning.is_none(),
        Phase::Completed => e.finished.is_none(),
        Phase::Scheduled | Phase::Missed | Phase::Cancelled | Phase::Invalid => false,
    };
    if missing {
        found.push(Violation::new(Rule::Phases, &sale.id, format!("{:?} was never entered: {e:?}", plan.phase)));
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::Phase;

    use crate::{Rule, testing::night};

    #[test]
    fn a_sale_is_live_only_while_it_is_open() {
        night().at("2026-12-05T17:59:59Z").passes();
        night().at("2026-12-05T18:00:00Z").breaks(Rule::Phases);
        night().at("2026-12-05T16:59:59Z").breaks(Rule::Phases);
    }

    #[test]
    fn a_deleted_sale_does_not_hold() {
        night().seen(|s| s.sales[0].deleting = true).breaks(Rule::Phases);
    }

    #[test]
    fn missed_and_completed_come_after_the_window() {
        night().plan(|p| p.sales[0].phase = Phase::Missed).breaks(Rule::Phases);
        night().recorded().over().passes();
        night().recorded().over().at("2026-12-05T17:30:00Z").breaks(Rule::Phases);
    }

    #[test]
    fn instants_follow_from_the_spec() {
        night().plan(|p| p.sales[0].times.as_mut().unwrap().ready_by = "2026-12-05T16:51:00Z".parse().unwrap()).breaks(Rule::Times);
        let scheduled = |starts_at: &str| {
            let starts_at = starts_at.parse().unwrap();
            night().at("2026-12-05T15:00:00Z").plan(move |p| {
                (p.sales[0].phase, p.sales[0].entered) = (Phase::Scheduled, Default::default());
                p.sales[0].times.as_mut().unwrap().starts_at = starts_at;
            })
        };
        scheduled("2026-12-05T16:51:00Z").breaks(Rule::Times);
        night().plan(|p| p.sales[0].times = None).breaks(Rule::Times);
    }
}
