//! Unknown fields in Kubernetes' own kinds, refused as `kubectl apply` refuses them: what is misspelt would be dropped without a word.
//!
//! k8s-openapi's types pass over what they do not know, but they name the fields that they know to whoever feeds them. [`Strict`] is fed from a value, compares
//! those names with what is there, and notes the difference.

use std::cell::RefCell;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

use super::schema::{self, Fault};

/// A value that notes the fields that nobody wants of it.
pub struct Strict<'a> {
    value: &'a Value,
    path: String,
    unknown: &'a RefCell<Vec<Fault>>,
}

impl<'a> Strict<'a> {
    /// The whole object.
    #[must_use]
    pub const fn new(value: &'a Value, unknown: &'a RefCell<Vec<Fault>>) -> Self {
        Self { value, path: String::new(), unknown }
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn compare(&self, fields: &Map<String, Value>, known: &[&str]) {
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let message = schema::unknown(key, known.iter().copied());
            self.unknown.borrow_mut().push(Fault { field: self.field(key), message });
        }
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(fields) => visitor.visit_map(Fields { parent: self, rest: fields.iter(), value: None }),
            Value::Array(items) => visitor.visit_seq(Items { parent: self, rest: items.iter().enumerate() }),
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, known: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        if let Value::Object(fields) = self.value {
            self.compare(fields, known);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'a> {
    parent: Strict<'a>,
    rest: serde_json::map::Iter<'a>,
    value: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, value) = self.value.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        seed.deserialize(Strict { value, path: self.parent.field(key), unknown: self.parent.unknown })
    }
}

struct Items<'a> {
    parent: Strict<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((n, value)) = self.rest.next() else { return Ok(None) };
        seed.deserialize(Strict { value, path: format!("{}[{n}]", self.parent.path), unknown: self.parent.unknown }).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_depth_is_compared_and_maps_of_any_key_are_not() {
        let value = json!({"metadata": {"labels": {"sepc": "x"}}, "sepc": {}, "spec": {"template": {"spec": {"containers": [{"name": "a"}, {"nmae": "b"}],
            "volumes": null}}}});
        let unknown = RefCell::default();
        Deployment::deserialize(Strict::new(&value, &unknown)).unwrap();
        let said: Vec<String> = unknown.take().into_iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
        assert_eq!(
            said,
            ["sepc: unknown field; did you mean spec?", "spec.template.spec.containers[1].nmae: unknown field; did you mean name?"]
        );
    }
}
