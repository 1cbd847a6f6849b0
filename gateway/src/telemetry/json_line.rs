//! Writes one JSON object into a reused buffer.

use std::fmt::Display;
use std::io::Write as _;

/// An object that is being written. Each field is two copies; `serde_json` would cost more than
/// routing the request.
pub(super) struct JsonLine<'a>(&'a mut Vec<u8>);

impl<'a> JsonLine<'a> {
    /// Begins with a field whose text `value` appends.
    pub(super) fn begin(
        buffer: &'a mut Vec<u8>,
        name: &'static str,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        buffer.push(b'{');
        let mut line = Self(buffer);
        line.field(name, value);
        line
    }

    /// A text without characters that JSON escapes.
    pub(super) fn plain(&mut self, name: &'static str, text: impl AsRef<[u8]>) {
        self.comma();
        self.field(name, |buffer| buffer.extend_from_slice(text.as_ref()));
    }

    /// The same, formatted.
    pub(super) fn display(&mut self, name: &'static str, text: impl Display) {
        self.comma();
        self.field(name, |buffer| drop(write!(buffer, "{text}")));
    }

    /// Any text.
    pub(super) fn escaped(&mut self, name: &'static str, text: &str) {
        self.comma();
        self.name(name);
        // A text always serializes.
        let _infallible = serde_json::to_writer(&mut *self.0, text);
    }

    /// A list of texts without characters that JSON escapes.
    pub(super) fn plain_list<'b>(
        &mut self,
        name: &'static str,
        texts: impl Iterator<Item = &'b str>,
    ) {
        self.comma();
        self.name(name);
        for (place, text) in texts.enumerate() {
            self.0.extend_from_slice(if place == 0 { b"[\"" } else { b",\"" });
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
        }
        self.0.push(b']');
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str, number: impl itoa::Integer) {
        self.raw(name, |buffer| {
            buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes())
        });
    }

    /// A value that `value` appends as it stands in JSON.
    pub(super) fn raw(&mut self, name: &'static str, value: impl FnOnce(&mut Vec<u8>)) {
        self.comma();
        self.name(name);
        value(self.0);
    }

    /// Ends the object and its line.
    pub(super) fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }

    fn comma(&mut self) {
        self.0.push(b',');
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn field(&mut self, name: &'static str, value: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
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
            JsonLine::begin(&mut buffer, "first", |buffer| buffer.extend_from_slice(b"1"));
        line.plain("plain", "a-b");
        line.display("display", std::net::Ipv4Addr::LOCALHOST);
        line.escaped("escaped", "\"\n\u{7}");
        line.plain_list("list", ["a", "b"].into_iter());
        line.number("number", 7_u64);
        line.raw("raw", |buffer| buffer.extend_from_slice(b"1.5"));
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
