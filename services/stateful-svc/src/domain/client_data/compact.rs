//! Validates a client's JSON and strips its white space.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use proto_contracts::stateful::MAX_CLIENT_DATA_DEPTH;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::invalid::{InvalidClientData, JsonFault, Unreadable};

/// The longest JSON Pointer in an error, in bytes.
const MAX_POINTER_BYTES: usize = 200;

/// The object without white space between its tokens.
pub(super) fn object(json: &RawValue) -> Result<Box<RawValue>, InvalidClientData> {
    if !json.get().starts_with('{') {
        return Err(InvalidClientData::NotAnObject);
    }
    let finding = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(json.get());
    Interoperable { levels_left: MAX_CLIENT_DATA_DEPTH, finding: &finding }
        .deserialize(&mut reader)
        .map_err(|error| finding.take().explain(&error))?;
    Ok(RawValue::from_string(without_white_space(json.get()))?)
}

/// What makes the JSON unreadable, and where.
#[derive(Default)]
struct Finding {
    fault: Option<JsonFault>,
    /// The segments of the value's JSON Pointer, the last first.
    place: Vec<String>,
}

impl Finding {
    fn explain(mut self, error: &serde_json::Error) -> Unreadable {
        // Serde itself rejects only numbers and escapes, once the syntax was checked.
        let is_number = || error.to_string().starts_with("number out of range");
        let by_serde = || if is_number() { JsonFault::OutOfRange } else { JsonFault::HalfOfPair };
        let fault = self.fault.unwrap_or_else(by_serde);
        // The names are the client's, and may be long.
        while self.place.iter().map(|segment| segment.len() + 1).sum::<usize>() > MAX_POINTER_BYTES
        {
            self.place.remove(0);
        }
        let segments = self.place.iter().rev();
        Unreadable { pointer: segments.map(|segment| format!("/{segment}")).collect(), fault }
    }
}

/// Accepts a JSON value that all parsers read alike (RFC 8259, sections 4, 6, 8 and 9): without
/// duplicate members, unpaired surrogates, numbers beyond the range of doubles, or too many levels.
/// The value is discarded.
#[derive(Clone, Copy)]
struct Interoperable<'a> {
    levels_left: usize,
    finding: &'a RefCell<Finding>,
}

impl Interoperable<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => Err(self.rejects(JsonFault::TooDeep)),
        }
    }

    fn rejects<E: Error>(self, fault: JsonFault) -> E {
        self.finding.borrow_mut().fault = Some(fault);
        E::custom(fault)
    }

    /// Adds to the place of a fault while it is returned.
    fn within<E>(self, error: E, segment: impl FnOnce() -> String) -> E {
        self.finding.borrow_mut().place.push(segment());
        error
    }
}

impl<'de> DeserializeSeed<'de> for Interoperable<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Interoperable<'_> {
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
        let mut index = 0_usize;
        while items
            .next_element_seed(inner)
            .map_err(|error| self.within(error, || index.to_string()))?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members
                .next_value_seed(inner)
                .map_err(|error| self.within(error, || escaped(&name)))?;
            if names.contains(&name) {
                return Err(
                    self.within(self.rejects(JsonFault::DuplicateMember), || escaped(&name))
                );
            }
            names.insert(name);
        }
        Ok(())
    }
}

/// The name as a segment of a JSON Pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
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
