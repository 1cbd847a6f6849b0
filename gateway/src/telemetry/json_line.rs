//! Writes one JSON object into a reused buffer.

use std::fmt::Display;
use std::io::Write as _;

/// A field's name as it stands in the object: `,"name":`. Made by [`key!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(pub(super) &'static str);

/// The [`Key`] of a name, which needs no JSON escapes.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::json_line::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

/// An object that is being written. Each field is two copies; `serde_json` would cost more than
/// routing the request.
pub(super) struct JsonLine<'a>(&'a mut Vec<u8>);

impl<'a> JsonLine<'a> {
    /// Begins with a field whose text `value` appends.
    pub(super) fn begin(
        buffer: &'a mut Vec<u8>,
        key: Key,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let start = buffer.len();
        let mut line = Self(buffer);
        line.quoted(key, value);
        // In place of the comma.
        line.0[start] = b'{';
        line
    }

    /// A text without characters that JSON escapes.
    pub(super) fn plain(&mut self, key: Key, text: impl AsRef<[u8]>) {
        self.quoted(key, |buffer| buffer.extend_from_slice(text.as_ref()));
    }

    /// The same, formatted.
    pub(super) fn display(&mut self, key: Key, text: impl Display) {
        self.quoted(key, |buffer| drop(write!(buffer, "{text}")));
    }

    /// Any text.
    pub(super) fn escaped(&mut self, key: Key, text: &str) {
        self.0.extend_from_slice(key.0.as_bytes());
        // A text always serializes.
        let _infallible = serde_json::to_writer(&mut *self.0, text);
    }

    /// A list of texts without characters that JSON escapes.
    pub(super) fn plain_list<'b>(&mut self, key: Key, texts: impl Iterator<Item = &'b str>) {
        self.0.extend_from_slice(key.0.as_bytes());
        for (place, text) in texts.enumerate() {
            self.0.extend_from_slice(if place == 0 { b"[\"" } else { b",\"" });
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
        }
        self.0.push(b']');
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: Key, number: impl itoa::Integer) {
        self.raw(key, |buffer| {
            buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes())
        });
    }

    /// A value that `value` appends as it stands in JSON.
    pub(super) fn raw(&mut self, key: Key, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(key.0.as_bytes());
        value(self.0);
    }

    /// Ends the object and its line.
    pub(super) fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }

    /// A text that `value` appends.
    fn quoted(&mut self, key: Key, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(key.0.as_bytes());
        self.0.push(b'"');
        value(self.0);
        self.0.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_valid_json() {
        let mut buffer = Vec::new();
        let mut line =
            JsonLine::begin(&mut buffer, key!("first"), |buffer| buffer.extend_from_slice(b"1"));
        line.plain(key!("plain"), "a-b");
        line.display(key!("display"), std::net::Ipv4Addr::LOCALHOST);
        line.escaped(key!("escaped"), "\"\n\u{7}");
        line.plain_list(key!("list"), ["a", "b"].into_iter());
        line.number(key!("number"), 7_u64);
        line.raw(key!("raw"), |buffer| buffer.extend_from_slice(b"1.5"));
        line.end();
        let json: serde_json::Value = serde_json::from_slice(&buffer).expect("JSON");
        let expected = serde_json::json!({
            "first": "1", "plain": "a-b", "display": "127.0.0.1", "escaped": "\"\n\u{7}", "list": ["a", "b"],
            "number": 7, "raw": 1.5,
        });
        assert_eq!(json, expected);
        assert!(buffer.ends_with(b"}\n"));
    }
}
