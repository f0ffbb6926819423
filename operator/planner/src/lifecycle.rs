//! The phases of a sale: where memory and clock put it, before anything is packed.
//!
//! `Scheduled -> Preparing -> Ready -> Live -> Returning -> Completed`; besides these `Missed`, `Cancelled`, `Invalid`. What depends on the
//! world and not on the clock alone (start of preparing, Ready, the end of the way back) is decided in [`crate::plan`].

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    OnSaleSpec, Phase, Reason,
    onsale::{Entered, Mode},
    time::{resolve, whole_seconds},
};

use crate::{
    alike::PoolList,
    index::Indexed,
    plan::{Times, Waiting},
    residency,
    snapshot::{Pool, Sale, Settings},
};

/// A sale on its way through one plan.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Phase, as far as it is known.
    pub phase: Phase,
    /// Entries into phases, this pass included.
    pub entered: Entered,
    /// Instants; `starts_at` is that of the status, or ready-by, until it is computed.
    pub times: Option<Times>,
    /// Why the sale cannot run.
    pub invalid: Option<Waiting>,
    /// Pools that it may use, by name.
    pub pools: PoolList,
    /// The wish is off: deleted or suspended.
    pub off: bool,
    /// Postponed: the way back ends in `Scheduled`.
    pub postponed: bool,
}

impl Draft {
    /// The sale waits for its computed start, and would be started by it.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.phase == Phase::Scheduled && self.times.is_some()
    }

    /// When it begins to be looked at whether everything can be had, for a sale that opens too late for that yet.
    #[must_use]
    pub fn looked_at_from(&self, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
        let ready_by = self.times.filter(|_| self.waits())?.ready_by;
        (ready_by.duration_since(now) > settings.horizon).then(|| ready_by.checked_sub(settings.horizon).unwrap_or(now))
    }

    /// Moves to a phase that was not entered before, or enters it again.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        let at = Some(Time(whole_seconds(now)));
        self.phase = phase;
        match phase {
            Phase::Preparing => self.entered = Entered { preparing: at, ..Entered::default() },
            Phase::Ready => self.entered.ready = self.entered.ready.take().or(at),
            Phase::Live => {
                self.entered.live = self.entered.live.take().or(at);
                self.entered.returning = None;
            }
            Phase::Returning => self.entered.returning = at,
            Phase::Completed | Phase::Cancelled => self.entered.finished = at,
            Phase::Scheduled | Phase::Missed | Phase::Invalid => {}
        }
    }

    /// What share of the sale's extra is still held, in tenths: all of it until the way back, then falling in ten steps over `returnOver`. Nothing at once
    /// for a sale that never opened, or that is annotated to return now.
    #[must_use]
    pub fn tenths(&self, sale: &Sale, now: Timestamp) -> i64 {
        const STEPS: i64 = 10;
        if self.phase.holds() {
            return STEPS;
        }
        let Some(since) = self.entered.returning.as_ref().filter(|_| self.phase == Phase::Returning) else { return 0 };
        let over = sale.spec.return_over.get().as_millis();
        if over == 0 || sale.return_now || self.entered.live.is_none() {
            return 0;
        }
        let gone = now.duration_since(since.0).as_millis().max(0) * i128::from(STEPS) / over;
        i64::try_from((i128::from(STEPS) - 1 - gone).max(0)).unwrap_or_default()
    }

    /// When the next of the ten steps is due.
    #[must_use]
    pub fn next_step(&self, sale: &Sale, now: Timestamp) -> Option<Timestamp> {
        let since = self.entered.returning.as_ref().filter(|_| self.phase == Phase::Returning && self.tenths(sale, now) > 0)?;
        let step = sale.spec.return_over.get() / 10;
        let gone = 10 - 1 - i32::try_from(self.tenths(sale, now)).ok()?;
        since.0.checked_add(step * (gone + 1)).ok().map(|t| t + SignedDuration::from_millis(1))
    }
}

/// Where memory and clock put the sale.
#[must_use]
pub fn draft(seen: &Indexed<'_>, index: usize) -> Draft {
    let (sale, now) = (&seen.sales[index], seen.now);
    let off = sale.deleting || sale.spec.suspend;
    let phase = sale.status.phase.unwrap_or_default();
    let mut draft = Draft {
        phase,
        entered: sale.status.entered.clone(),
        times: None,
        invalid: None,
        pools: pools_of(seen, index, phase.is_active()),
        off,
        postponed: false,
    };
    match times(&sale.spec, sale.status.starts_at.as_ref().map(|t| t.0)) {
        Ok(times) => {
            draft.times = Some(times);
            advance(&mut draft, sale, times, now);
        }
        Err(invalid) if phase.is_active() => {
            // A wish that became nonsense while it was carried out is undone, not dropped.
            draft.invalid = Some(invalid);
            if phase != Phase::Returning {
                draft.enter(Phase::Returning, now);
            }
        }
        Err(invalid) => {
            draft.invalid = Some(invalid);
            draft.phase = if off { Phase::Cancelled } else { Phase::Invalid };
        }
    }
    draft
}

fn advance(draft: &mut Draft, sale: &Sale, times: Times, now: Timestamp) {
    let over = now >= times.ends_at;
    match draft.phase {
        Phase::Scheduled | Phase::Invalid | Phase::Missed => {
            draft.phase = match () {
                () if draft.off => Phase::Cancelled,
                () if over => Phase::Missed,
                () => Phase::Scheduled,
            };
        }
        Phase::Preparing | Phase::Ready => match () {
            () if draft.off || over => draft.enter(Phase::Returning, now),
            () if now >= times.opens_at => draft.enter(Phase::Live, now),
            () => {}
        },
        Phase::Live if draft.off || over => draft.enter(Phase::Returning, now),
        // Extended, or taken up again, while on its way back.
        Phase::Returning if !draft.off && !over && now >= times.opens_at && draft.entered.live.is_some() => draft.enter(Phase::Live, now),
        Phase::Live | Phase::Returning => {}
        Phase::Completed | Phase::Cancelled => {
            let moved = sale.status.opens_at.as_ref().is_some_and(|t| t.0 != times.opens_at);
            // It ended before it opened, by a clock that was ahead.
            let too_soon = draft.entered.live.is_none() && draft.entered.finished.as_ref().is_some_and(|t| t.0 > now);
            if !draft.off && !over && (moved || too_soon || draft.phase == Phase::Cancelled) {
                draft.phase = Phase::Scheduled;
                draft.entered = Entered::default();
            }
        }
    }
}

/// The instants that a sale says, and when it starts: at ready-by, until that is computed.
///
/// # Errors
/// [`Reason::InvalidTime`]: it names no instant, or one that is out of range.
pub fn times(spec: &OnSaleSpec, starts_at: Option<Timestamp>) -> Result<Times, Waiting> {
    let invalid = |message: String| Waiting { reason: Reason::InvalidTime, message, until: None };
    let opens_at = resolve(&spec.opens_at, spec.time_zone.as_deref()).map_err(|e| invalid(e.to_string()))?;
    let far = |_| invalid(format!("opensAt {} is out of range", spec.opens_at));
    let ready_by = opens_at.checked_sub(spec.ready_before.get()).map_err(far)?;
    let ends_at = opens_at.checked_add(spec.duration.get()).map_err(far)?;
    Ok(Times { opens_at, ready_by, starts_at: starts_at.unwrap_or(ready_by), ends_at })
}

/// The pools that are open to the sale's namespace and that its placement leaves to some workload, and for a sale that is active those that its workloads were
/// promised at its start: closing a pool takes effect after the window, never in the middle of it.
#[must_use]
pub fn pools_of(seen: &Indexed<'_>, sale: usize, active: bool) -> PoolList {
    let placements = seen.workloads_of(sale).filter(|_| active).filter_map(|work| work.placement.as_ref());
    let promised: BTreeSet<&str> = placements.flat_map(|p| &p.spec.distances).map(|d| d.pool.as_str()).collect();
    let sale = &seen.sales[sale];
    let labels = seen.namespaces.get(&sale.id.namespace);
    let within = |pool: &Pool| sale.spec.workloads.iter().any(|wish| residency::admits(sale, wish, pool));
    seen.pools_where(|pool| (residency::is_open(labels, pool) && within(pool)) || promised.contains(pool.name.as_str()))
}

/// When a sale that takes so long has to start to be Ready in time.
#[must_use]
pub fn starts_at(times: Times, lead: SignedDuration) -> Timestamp {
    whole_seconds(times.ready_by.checked_sub(lead).unwrap_or(times.ready_by))
}

/// Whether a sale that takes so long starts now.
#[must_use]
pub fn starts_now(sale: &Sale, draft: &Draft, lead: SignedDuration, now: Timestamp) -> bool {
    may_start(sale, draft) && draft.times.is_some_and(|times| now >= starts_at(times, lead))
}

/// Whether a sale that has not started may be started by the clock at all.
#[must_use]
pub fn may_start(sale: &Sale, draft: &Draft) -> bool {
    draft.waits() && !draft.off && sale.spec.mode == Mode::Live
}
