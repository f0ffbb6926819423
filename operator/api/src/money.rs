//! Money: a decimal in the one currency that the operator is configured with.

use std::{borrow::Cow, fmt, iter::Sum, ops::Add, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of money in millionths of the currency's unit; never negative, never a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// Why a text is no amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an amount of money; write a decimal such as \"0.85\" or \"70\"")]
pub struct MoneyError {
    text: String,
}

impl Money {
    /// From millionths.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// In millionths.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// `n` times as much, at most the largest amount there is.
    #[must_use]
    pub const fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl FromStr for Money {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str, most: usize| !s.is_empty() && s.len() <= most && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 9) || !digits(fraction, 6) {
            return Err(MoneyError { text: text.to_owned() });
        }
        let micros = format!("{whole}{fraction:0<6}").parse().map_err(|_| MoneyError { text: text.to_owned() })?;
        Ok(Self(micros))
    }
}

impl fmt::Display for Money {
    /// At least two decimals, as prices are written: `0.85`, `70.00`, `0.0475`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % 1_000_000);
        let long = fraction.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / 1_000_000, if long.len() < 2 { &fraction[..2] } else { long })
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "x-kubernetes-validations": [{
                "rule": r"self.matches('^[0-9]{1,9}([.][0-9]{1,6})?$')",
                "message": "must be an amount of money in quotes, such as \"0.85\" or \"70\"",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_digit() {
        for (text, back, micros) in [("0.85", "0.85", 850_000), ("70", "70.00", 70_000_000), ("0.0475", "0.0475", 47_500)] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.to_string().as_str(), money.micros()), (back, micros));
        }
        for text in ["", "-1", "1e3", "1.", ".5", "0.1234567", "$5"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }
}
