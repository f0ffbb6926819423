//! OnSales that nothing has to be done about, for now or for ever: they sleep, as the text of what they say, and cost a pass next to nothing. Whether all that can
//! be said of such a sale has been said in its status is another matter: until then it is untold, and its status is made apart from the plan of all others.

use jiff::{SignedDuration, Timestamp};
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use onsale_api::{
    OnSale, OnSaleSpec, OnSaleStatus, Phase, Reason,
    conditions::types,
    onsale::{Target, TargetKind},
};
use onsale_planner::{
    lifecycle,
    objects::own,
    snapshot::{Sale, SaleId, Settings},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A sale whose window passed unseen is looked at for so long still: the machine's clock may have been wrong.
const DOUBT: SignedDuration = SignedDuration::from_hours(24);

/// A sale that sleeps.
#[derive(Clone, Debug)]
pub struct Asleep {
    /// The phase that its status says.
    pub phase: Phase,
    /// Generation of its spec.
    pub generation: i64,
    /// It is annotated `onsale.dev/return: Now`.
    pub return_now: bool,
    /// Its status says all that can be said.
    pub told: bool,
    created_at: Timestamp,
    until: Until,
    /// What it says, as JSON, compressed to a third; empty where it is never looked at again.
    text: Box<[u8]>,
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
    /// Either of both: the horizon reaching its ready-by, before its end.
    Within { ready_by: Timestamp, ends_at: Timestamp },
}

/// What is kept of the object.
#[derive(Serialize)]
struct Says<'a> {
    spec: &'a OnSaleSpec,
    status: &'a Option<OnSaleStatus>,
}

#[derive(Deserialize)]
struct Said {
    spec: OnSaleSpec,
    status: Option<OnSaleStatus>,
}

/// Only whom it names.
#[derive(Deserialize)]
struct Names {
    spec: Named,
}

#[derive(Deserialize)]
struct Named {
    workloads: Vec<Wish>,
}

#[derive(Deserialize)]
struct Wish {
    target: Target,
}

impl Asleep {
    /// `None`: something may have to be done about the sale.
    #[must_use]
    pub fn of(object: &OnSale) -> Option<Self> {
        let meta = &object.metadata;
        if meta.deletion_timestamp.is_some() || own::is_protected(meta) {
            return None;
        }
        let told = object.status.as_ref().is_some_and(|s| s.observed_generation == meta.generation);
        let until = if told { until_change(object.status.as_ref()?)? } else { until_near(object)? };
        let text = match until {
            Until::Never => Vec::new(),
            _ => compress_prepend_size(&serde_json::to_vec(&Says { spec: &object.spec, status: &object.status }).ok()?),
        };
        Some(Self {
            phase: object.status.as_ref().and_then(|s| s.phase).unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            return_now: own::returns_now(meta),
            told,
            created_at: meta.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default(),
            until,
            text: text.into(),
        })
    }

    /// Whether nothing has to be done about it at an instant.
    #[must_use]
    pub fn sleeps(&self, settings: &Settings, now: Timestamp) -> bool {
        let is_far = |ready_by: Timestamp| ready_by.duration_since(now) > settings.horizon;
        match self.until {
            Until::Never => true,
            Until::Before(instant) => now >= instant,
            Until::Near(ready_by) => is_far(ready_by),
            Until::Within { ready_by, ends_at } => is_far(ready_by) || now >= ends_at,
        }
    }

    /// The whole sale.
    #[must_use]
    pub fn wake(&self, id: &SaleId, uid: &str) -> Option<Sale> {
        let Said { spec, status } = self.read()?;
        Some(Sale {
            uid: uid.to_owned(),
            generation: self.generation,
            status: status.unwrap_or_default().into(),
            return_now: self.return_now,
            ..Sale::new(id.clone(), spec, self.created_at)
        })
    }

    /// Kinds and names of the workloads that it names.
    #[must_use]
    pub fn targets(&self) -> Vec<(TargetKind, String)> {
        let names: Option<Names> = self.read();
        names.into_iter().flat_map(|n| n.spec.workloads).map(|w| (w.target.kind, w.target.name)).collect()
    }

    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&decompress_size_prepended(&self.text).ok()?).ok()
    }
}

/// Of a sale that was told where it stands: until when that stays so.
fn until_change(status: &OnSaleStatus) -> Option<Until> {
    match status.phase? {
        Phase::Completed if status.entered.live.is_some() => Some(Until::Never),
        Phase::Cancelled => Some(Until::Never),
        Phase::Completed | Phase::Missed => Some(Until::Before(status.ends_at.as_ref()?.0.checked_add(DOUBT).ok()?)),
        Phase::Scheduled if is_far(status) => Some(Until::Near(status.ready_by.as_ref()?.0)),
        _ => None,
    }
}

fn is_far(status: &OnSaleStatus) -> bool {
    let reason = Reason::TooFarAhead.to_string();
    status.conditions.iter().any(|c| c.type_ == types::FEASIBLE && c.reason == reason)
}

/// Of a sale that is new, or was edited before it began.
fn until_near(object: &OnSale) -> Option<Until> {
    let phase = object.status.as_ref().and_then(|s| s.phase).unwrap_or_default();
    let times = lifecycle::times(&object.spec, None).ok().filter(|_| phase == Phase::Scheduled)?;
    Some(Until::Within { ready_by: times.ready_by, ends_at: times.ends_at })
}
