//! Whole percentages as users write them: `10%`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole percentage, 0 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

/// Why a text is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a percentage; write a whole one such as 10%")]
pub struct PercentError {
    text: String,
}

impl Percent {
    /// A percentage; above 1000 it is cut to 1000.
    #[must_use]
    pub const fn new(percent: u16) -> Self {
        Self(if percent > 1000 { 1000 } else { percent })
    }
    /// This share of `n`, rounded up.
    #[must_use]
    pub fn ceil_of(self, n: i32) -> i32 {
        i32::try_from((i64::from(n) * i64::from(self.0) + 99).div_euclid(100)).unwrap_or(i32::MAX)
    }
    /// This share of `n`, rounded down.
    #[must_use]
    pub fn floor_of(self, n: i32) -> i32 {
        i32::try_from((i64::from(n) * i64::from(self.0)).div_euclid(100)).unwrap_or(i32::MAX)
    }
}

impl FromStr for Percent {
    type Err = PercentError;
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let number = text.strip_suffix('%').and_then(|n| n.parse().ok()).filter(|n| *n <= 1000);
        number.map(Self).ok_or_else(|| PercentError { text: text.to_owned() })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 5,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^(1000|[1-9]?[0-9]{1,2})%$')",
                "message": "must be a whole percentage such as 10%, from 0% to 1000%",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_asked() {
        let ten: Percent = "10%".parse().unwrap();
        assert_eq!((ten.ceil_of(11), ten.floor_of(11)), (2, 1));
        for text in ["10", "%", "-1%", "10.5%", "1001%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
