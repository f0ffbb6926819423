//! Durations as users write them: Go's syntax, `1h30m`, `90s`, `1.6ms`.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time that is never negative, in Go's syntax with the units `h`, `m`, `s`, `ms` and `us`. Days are not a unit:
/// a day is not always 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(SignedDuration);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration; write one such as 1h30m, 90s or 1.6ms")]
pub struct DurationError {
    text: String,
}

const UNITS: [(&str, i64); 5] = [("h", 3_600_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];

impl GoDuration {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }
    /// From whole minutes.
    #[must_use]
    pub const fn from_mins(minutes: i64) -> Self {
        Self::from_secs(minutes * 60)
    }
    /// From microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(SignedDuration::from_micros(micros))
    }
    /// The same span as jiff's type.
    #[must_use]
    pub const fn get(self) -> SignedDuration {
        self.0
    }
    /// Whole microseconds: the unit of latency arithmetic.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl From<SignedDuration> for GoDuration {
    /// Negative spans become zero.
    fn from(d: SignedDuration) -> Self {
        Self(d.max(SignedDuration::ZERO))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError { text: text.to_owned() };
        if text == "0" {
            return Ok(Self::default());
        }
        let (mut rest, mut nanos) = (text, 0_i64);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&n| n > 0).ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            let (unit, size) = UNITS.iter().find(|(u, _)| tail.starts_with(u)).ok_or_else(error)?;
            nanos = part(number, *size).and_then(|n| nanos.checked_add(n)).ok_or_else(error)?;
            rest = &tail[unit.len()..];
        }
        if text.is_empty() { Err(error()) } else { Ok(Self(SignedDuration::from_nanos(nanos))) }
    }
}

/// `number` units of `size` nanoseconds, exactly; digits beyond the nanosecond are cut off.
fn part(number: &str, size: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(size)?;
    let mut step = size;
    for digit in fraction.chars() {
        step /= 10;
        nanos = nanos.checked_add(i64::from(digit.to_digit(10)?) * step)?;
    }
    Some(nanos)
}

impl fmt::Display for GoDuration {
    /// The shortest exact form: `1h30m`, `10m`, `90s` as `1m30s`, `1.6ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX);
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, size) = if nanos >= 1_000_000 { ("ms", 1_000_000) } else { ("us", 1_000) };
            return write!(f, "{}{unit}", decimal(nanos, size));
        }
        for (unit, size) in [("h", 3_600_000_000_000), ("m", 60_000_000_000)] {
            if nanos >= size {
                write!(f, "{}{unit}", nanos / size)?;
                nanos %= size;
            }
        }
        if nanos > 0 { write!(f, "{}s", decimal(nanos, 1_000_000_000)) } else { Ok(()) }
    }
}

fn decimal(value: i64, size: i64) -> String {
    let fraction = format!("{:0width$}", value % size, width = size.ilog10() as usize);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{}", value / size) } else { format!("{}.{fraction}", value / size) }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 24,
            "x-kubernetes-validations": [{
                "rule": r"self == '0' || self.matches('^([0-9]{1,9}([.][0-9]{1,6})?(h|m|s|ms|us))+$')",
                "message": "must be a duration such as 1h30m, 90s or 1.6ms (units h, m, s, ms, us; no days, no sign)",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_users_write() {
        for (text, back) in
            [("1h30m", "1h30m"), ("90s", "1m30s"), ("1.6ms", "1.6ms"), ("0s", "0s"), ("0", "0s"), ("1.5h", "1h30m"), ("250us", "250us")]
        {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), back);
        }
        assert_eq!("1.6ms".parse::<GoDuration>().unwrap().micros(), 1600);
    }

    #[test]
    fn refuses_days_signs_bare_numbers_and_overflow() {
        for text in ["", "1d", "-5m", "90", "m", "5 m", "9999999999h", "1..5s", ".s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
