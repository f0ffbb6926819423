//! From `opensAt` and `timeZone` to an instant. The time zone database is embedded in the binary.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Why `opensAt` names no instant. Each sentence says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Neither RFC 3339 nor a local date and time.
    #[error("opensAt {0:?} is no date and time; write 2026-12-05T10:00:00 with timeZone, or 2026-12-05T10:00:00-07:00 without")]
    Malformed(String),
    /// A local time without a zone.
    #[error("opensAt {0:?} is a local time; add timeZone, for example America/Phoenix")]
    ZoneMissing(String),
    /// An instant with an offset, and a zone besides.
    #[error("opensAt {0:?} carries an offset; remove timeZone, or write the local time without the offset")]
    ZoneSuperfluous(String),
    /// No such zone in the IANA database.
    #[error("timeZone {0:?} is not in the IANA database; write a name such as America/Phoenix")]
    UnknownZone(String),
    /// The clocks jump over this local time.
    #[error("{local} does not exist in {zone}: the clocks jump over it; choose another time or write an offset")]
    Nonexistent {
        /// The local time as written.
        local: String,
        /// The zone as written.
        zone: String,
    },
    /// The clocks show this local time twice.
    #[error("{local} happens twice in {zone}; write opensAt with the offset that is meant, {first} or {second}")]
    Ambiguous {
        /// The local time as written.
        local: String,
        /// The zone as written.
        zone: String,
        /// The earlier instant, with its offset.
        first: String,
        /// The later instant, with its offset.
        second: String,
    },
}

/// The instant that `opens_at` names, in whole seconds.
///
/// # Errors
/// When it names none, or two: see [`TimeError`].
pub fn resolve(opens_at: &str, time_zone: Option<&str>) -> Result<Timestamp, TimeError> {
    if let Ok(instant) = opens_at.parse::<Timestamp>() {
        return match time_zone {
            None => Ok(whole_seconds(instant)),
            Some(_) => Err(TimeError::ZoneSuperfluous(opens_at.to_owned())),
        };
    }
    let local: DateTime = opens_at.parse().map_err(|_| TimeError::Malformed(opens_at.to_owned()))?;
    let name = time_zone.ok_or_else(|| TimeError::ZoneMissing(opens_at.to_owned()))?;
    let zone = TimeZone::get(name).map_err(|_| TimeError::UnknownZone(name.to_owned()))?;
    let candidates = zone.to_ambiguous_timestamp(local);
    let offset = candidates.offset();
    let (local, zone_name) = (opens_at.to_owned(), name.to_owned());
    match offset {
        jiff::tz::AmbiguousOffset::Unambiguous { .. } => {
            candidates.unambiguous().map(whole_seconds).map_err(|_| TimeError::Malformed(local))
        }
        jiff::tz::AmbiguousOffset::Gap { .. } => Err(TimeError::Nonexistent { local, zone: zone_name }),
        jiff::tz::AmbiguousOffset::Fold { before, after } => {
            let text = |o: jiff::tz::Offset| {
                o.to_timestamp(candidates.datetime()).map_or_else(|e| e.to_string(), |t| t.display_with_offset(o).to_string())
            };
            let (first, second) = (text(before), text(after));
            Err(TimeError::Ambiguous { local, zone: zone_name, first, second })
        }
    }
}

/// Kubernetes prints times in whole seconds: cut before comparing or writing, else a status never settles.
#[must_use]
pub fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(opens_at: &str, zone: &str) -> Result<String, TimeError> {
        resolve(opens_at, Some(zone)).map(|t| t.to_string())
    }

    #[test]
    fn resolves_local_wall_time_offsets_midnight_and_leap_days() {
        assert_eq!(at("2026-12-05T10:00:00", "America/Phoenix").unwrap(), "2026-12-05T17:00:00Z");
        assert_eq!(at("2028-02-29T00:00:00", "Europe/Berlin").unwrap(), "2028-02-28T23:00:00Z");
        assert_eq!(resolve("2026-12-05T10:00:00.7-07:00", None).unwrap().to_string(), "2026-12-05T17:00:00Z");
    }

    #[test]
    fn refuses_local_times_that_the_clocks_skip_or_repeat() {
        assert!(matches!(at("2026-03-08T02:30:00", "America/Denver"), Err(TimeError::Nonexistent { .. })));
        let twice = at("2026-11-01T01:30:00", "America/Denver").unwrap_err().to_string();
        assert!(twice.contains("2026-11-01T01:30:00-06:00 or 2026-11-01T01:30:00-07:00"), "{twice}");
    }

    #[test]
    fn refuses_unknown_missing_and_superfluous_zones() {
        assert!(matches!(at("2026-12-05T10:00:00", "America/Phonix"), Err(TimeError::UnknownZone(_))));
        assert!(matches!(resolve("2026-12-05T10:00:00", None), Err(TimeError::ZoneMissing(_))));
        assert!(matches!(at("2026-12-05T10:00:00Z", "America/Phoenix"), Err(TimeError::ZoneSuperfluous(_))));
        assert!(matches!(at("2026-02-30T10:00:00", "America/Phoenix"), Err(TimeError::Malformed(_))));
    }
}
