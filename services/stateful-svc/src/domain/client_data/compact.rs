//! Validates a client's JSON and strips its white space.

use std::collections::HashSet;
use std::fmt;

use proto_contracts::stateful::MAX_CLIENT_DATA_DEPTH;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::invalid::InvalidClientData;

/// The object without white space between its tokens.
pub(super) fn object(json: &RawValue) -> Result<Box<RawValue>, InvalidClientData> {
    if !json.get().starts_with('{') {
        return Err(InvalidClientData::NotAnObject);
    }
    // The text is valid JSON, which parsers may still read differently (RFC 8259, sections 4, 6, 8
    // and 9).
    let mut reader = serde_json::Deserializer::from_str(json.get());
    Interoperable { levels_left: MAX_CLIENT_DATA_DEPTH }.deserialize(&mut reader)?;
    Ok(RawValue::from_string(without_white_space(json.get()))?)
}

/// Accepts a JSON value without duplicate members, unpaired surrogates, numbers beyond the range of
/// doubles, or too many levels. The value is discarded.
#[derive(Clone, Copy)]
struct Interoperable {
    levels_left: usize,
}

impl Interoperable {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left }),
            None => {
                Err(E::custom(format_args!("nested deeper than {MAX_CLIENT_DATA_DEPTH} levels")))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Interoperable {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Interoperable {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(inner)?;
            if !names.insert(name) {
                return Err(A::Error::custom("two members of an object have the same name"));
            }
        }
        Ok(())
    }
}

/// Removes white space between tokens. The text must be valid JSON.
fn without_white_space(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string || !matches!(c, ' ' | '\t' | '\n' | '\r') {
            compact.push(c);
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = c == '\\' && !escaped;
    }
    compact
}
