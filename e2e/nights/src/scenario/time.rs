//! Instants and delays as scenarios write them.

use std::{fmt, time::Duration};

use jiff::{Timestamp, civil, tz::TimeZone};
use onsale_api::GoDuration;
use serde::{Deserialize, Deserializer, de::Error};

use crate::random::Delay;

/// When: an instant such as `2026-12-05T17:00:00Z`, or a time of day such as `17:00` or `17:00:30`, which is the first one at or after `begins`, in the
/// scenario's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// An instant.
    Instant(Timestamp),
    /// A time of day.
    TimeOfDay(civil::Time),
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let instant = || text.parse().map(Self::Instant).ok();
        let time = || text.parse().map(Self::TimeOfDay).ok();
        let what =
            || format!("{text:?} is no moment: write an instant such as 2026-12-05T17:00:00Z, or a time of day such as \"17:00:30\"");
        instant().or_else(time).ok_or_else(|| D::Error::custom(what()))
    }
}

impl Moment {
    /// The instant, in a night that begins then.
    #[must_use]
    pub fn instant(self, begins: Timestamp, zone: &TimeZone) -> Timestamp {
        let time = match self {
            Self::Instant(instant) => return instant,
            Self::TimeOfDay(time) => time,
        };
        let today = begins.to_zoned(zone.clone()).date();
        // Time zones change by hours: the first such time at or after `begins` is today's or one of the next two days'.
        let days = (0..3).filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok());
        let instants = days.filter_map(|day| Some(zone.to_ambiguous_zoned(day.to_datetime(time)).compatible().ok()?.timestamp()));
        instants.into_iter().find(|t| *t >= begins).unwrap_or(begins)
    }
}

/// How long something takes: `12s`, always the same, or `{p50: 30s, p95: 60s}`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Takes(pub Delay);

impl fmt::Debug for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Delay::Between(low, high) if low == high => write!(f, "{low:?}"),
            Delay::Between(low, high) => write!(f, "{low:?} to {high:?}"),
            Delay::Quantiles { p50, p95 } => write!(f, "p50 {p50:?}, p95 {p95:?}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantiles {
    p50: GoDuration,
    p95: GoDuration,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "write a time such as 12s, or {p50: 30s, p95: 60s}")]
enum Written {
    Fixed(GoDuration),
    Quantiles(Quantiles),
}

impl<'de> Deserialize<'de> for Takes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Fixed(time) => Ok(Self(Delay::Between(std_of(time), std_of(time)))),
            Written::Quantiles(q) if q.p50 <= q.p95 => Ok(Self(Delay::Quantiles { p50: std_of(q.p50), p95: std_of(q.p95) })),
            Written::Quantiles(_) => Err(D::Error::custom("p50 is more than p95: swap them")),
        }
    }
}

/// As the standard library has it.
#[must_use]
pub fn std_of(time: GoDuration) -> Duration {
    time.get().unsigned_abs()
}
