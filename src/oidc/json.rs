//! Pure. One JSON object out of bytes from outside, where a repeated member is an error and not a choice.
//!
//! Two readers of `{"sub":"a","sub":"b"}` may see two different people (RFC 8259 section 4); this one sees neither.
//! Depth is bounded by `serde_json` (128).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Reads one object, with nothing after it.
///
/// # Errors
/// [`NotAnObject`] for anything else, and for a repeated member at any depth.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, NotAnObject> {
    match serde_json::from_slice(bytes) {
        Ok(Object(members)) => Ok(members),
        Err(_) => Err(NotAnObject),
    }
}

/// The members of one such object, for reading an answer from them: a derived struct would read an array too.
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Unambiguous::deserialize(deserializer)? {
            Unambiguous(Value::Object(members)) => Ok(Self(members)),
            _ => Err(D::Error::custom(NotAnObject)),
        }
    }
}

/// The bytes are no JSON object, or an ambiguous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one JSON object without repeated members")]
pub struct NotAnObject;

struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unambiguous(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unambiguous(value))) = items.next_entry::<String, _>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anything_but_one_unambiguous_object_is_refused() {
        let deep = "[".repeat(10_000);
        let deep_object = "{\"a\":".repeat(10_000);
        for text in [
            "",
            "null",
            "\"x\"",
            "7",
            "[{\"sub\":\"a\"}]",
            "{",
            "{} {}",
            "{}x",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":{\"b\":1,\"b\":2}}",
            "{\"a\":[{\"b\":1,\"b\":2}]}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":1e400}",
            "{\"a\":NaN}",
            &deep,
            &deep_object,
        ] {
            assert_eq!(object(text.as_bytes()), Err(NotAnObject), "{text:.40}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(NotAnObject));
    }

    proptest! {
        #[test]
        fn an_object_reads_as_serde_json_reads_it(text in "\\{\"[a-c]\":(0|[1-9][0-9]{0,19})(\\.[0-9]{1,3})?,\"[d-f]\":\\[true,null,-[1-9]\\]\\}") {
            let expected: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
            prop_assert_eq!(object(text.as_bytes()), Ok(expected));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            drop(object(&bytes));
        }
    }
}
