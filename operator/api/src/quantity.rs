//! Kubernetes quantities as integers: `15890m`, `28Gi`, `110`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A Kubernetes quantity, kept as written and read as an integer. Never negative.
///
/// Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    text: String,
    milli: i64,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity; write one such as 15890m, 28Gi or 110")]
pub struct QuantityError {
    text: String,
}

/// The smallest unit that Kubernetes knows, of which there are so many in one.
const NANO: i128 = 1_000_000_000;
/// Of these, a thousandth.
const MILLI: i128 = NANO / 1_000;

/// Decimal and binary suffixes with their size in billionths.
const SUFFIXES: [(&str, i128); 15] = [
    ("Ki", NANO << 10),
    ("Mi", NANO << 20),
    ("Gi", NANO << 30),
    ("Ti", NANO << 40),
    ("Pi", NANO << 50),
    ("Ei", NANO << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", MILLI),
    ("k", NANO * 1_000),
    ("M", NANO * 1_000_000),
    ("G", NANO * 1_000_000_000),
    ("T", NANO * 1_000_000_000_000),
    ("P", NANO * 1_000_000_000_000_000),
    ("E", NANO * 1_000_000_000_000_000_000),
];

impl Amount {
    /// In thousandths, rounded up: millicores of a CPU quantity.
    #[must_use]
    pub const fn milli(&self) -> i64 {
        self.milli
    }
    /// In whole units, rounded up: bytes of a memory quantity, a count of pods.
    #[must_use]
    pub const fn units(&self) -> i64 {
        self.milli / 1_000 + if self.milli % 1_000 > 0 { 1 } else { 0 }
    }
}

impl FromStr for Amount {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError { text: text.to_owned() };
        let (number, size, exponent) = split_suffix(text).ok_or_else(error)?;
        let milli = scaled(number, size, exponent).ok_or_else(error)?;
        Ok(Self { text: text.to_owned(), milli })
    }
}

/// The number, what one of it is in billionths, and the exponent of ten that it is to be taken by.
fn split_suffix(text: &str) -> Option<(&str, i128, i32)> {
    if let Some((suffix, size)) = SUFFIXES.iter().find(|(s, _)| text.ends_with(s)) {
        return Some((&text[..text.len() - suffix.len()], *size, 0));
    }
    let Some((number, exponent)) = text.split_once(['e', 'E']) else { return Some((text, NANO, 0)) };
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let most = if exponent.starts_with('-') { i32::MIN } else { i32::MAX };
    Some((number, NANO, exponent.parse().unwrap_or(most)))
}

/// Digits that are counted exactly: of more, those after the point are too little to matter, and those before it more than anybody has.
const DIGITS: usize = 18;

/// The number in thousandths, rounded up as the API server does; what is more than can be counted is the most that can.
fn scaled(number: &str, size: i128, exponent: i32) -> Option<i64> {
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(DIGITS)];
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let most = Some(i64::MAX);
    let Ok(value) = digits.parse::<i128>() else { return most };
    // Ten to this, of billionths, is what the digits stand for.
    let places = i64::from(exponent) - i64::try_from(fraction.len()).unwrap_or_default();
    let power = |places: i64| u32::try_from(places).ok().and_then(|places| 10_i128.checked_pow(places));
    let Some(value) = value.checked_mul(size) else { return most };
    let (value, part) = match places {
        0.. => (power(places).and_then(|ten| value.checked_mul(ten)), Some(MILLI)),
        _ => (Some(value), power(-places).and_then(|ten| ten.checked_mul(MILLI))),
    };
    let Some(value) = value else { return most };
    // Of what is divided by more than can be counted something is left, and rounded up.
    let milli = part.map_or(1, |part| value / part + i128::from(value % part > 0));
    Some(i64::try_from(milli).unwrap_or(i64::MAX))
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            Text(String),
        }
        let text = match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(n) => n.to_string(),
            IntOrString::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            // A pattern and no CEL rule: CEL takes an int-or-string for as long as a request may be, and refuses the rule for its cost.
            "pattern": r"^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, milli) in [
            ("15890m", 15_890),
            ("1.5", 1_500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("0.1m", 1),
            ("1e3", 1_000_000),
            ("1E", i64::MAX),
            ("100u", 1),
            ("2500u", 3),
            ("1n", 1),
            ("4000000n", 4),
            ("1e-3", 1),
            ("1e-12", 1),
            ("19000e-13", 1),
            ("1073741824000000000n", 1_073_741_824_000),
            ("1e99", i64::MAX),
            ("1e-99999999999", 1),
            ("0e99", 0),
            ("00000000000000000000000000000000000000000002", 2_000),
            ("99999999999999999999999999999999999999999999", i64::MAX),
            ("0.5000000000000000000000000000000000000000001", 500),
            ("4294967296000000000n", 4_294_967_296_000),
            ("5E-1", 500),
            ("1.5e+3", 1_500_000),
            ("0n", 0),
            ("123456789.123456789Gi", i64::MAX),
            ("7.75Gi", 7_936 * 1_024 * 1_024 * 1_000),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap().milli(), milli, "{text}");
        }
        assert_eq!("28Gi".parse::<Amount>().unwrap().units(), 28 << 30);
        for text in ["", "abc", "-1", "1 Gi", "1.2.3", "Gi", "1GB", "1e", "1nn", "1e--1", "1e+", "e3"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
