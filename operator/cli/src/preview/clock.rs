//! Instants as people read them: in the sale's zone, with the date wherever it could be another than the reader thinks.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use onsale_api::time::whole_seconds;

/// The zone of a sale's times, an IANA name or an offset; UTC for what is neither.
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    let dated = format!("2026-01-01T00:00:00{name}");
    let offset = jiff::fmt::temporal::Pieces::parse(&dated).ok().and_then(|pieces| pieces.to_numeric_offset());
    TimeZone::get(name).ok().or_else(|| offset.map(TimeZone::fixed)).unwrap_or(TimeZone::UTC)
}

/// Date, time and zone.
#[must_use]
pub fn stamp(at: Timestamp, zone_name: &str) -> String {
    format!("{} {zone_name}", whole_seconds(at).to_zoned(zone(zone_name)).strftime("%Y-%m-%d %H:%M:%S"))
}

/// The time of day, with its date where that is another than the one that the reader has before them.
#[must_use]
pub fn beside(at: &Zoned, day: jiff::civil::Date) -> String {
    at.strftime(if at.date() == day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_day_is_told_with_its_date() {
        let at: Timestamp = "2026-12-06T07:30:00Z".parse().unwrap();
        let at = at.to_zoned(zone("America/Phoenix"));
        assert_eq!(beside(&at, at.date()), "00:30:00");
        assert_eq!(beside(&at, at.date().yesterday().unwrap()), "2026-12-06 00:30:00");
        assert_eq!(stamp(at.timestamp(), "-07:00"), "2026-12-06 00:30:00 -07:00");
    }
}
