//! The elements of a JSON array, one after the other, with their lines. Memory is bounded, however
//! large the file or an element is.

use std::io::{self, BufRead, Bytes};
use std::iter::Peekable;

/// The longest element that is kept, in bytes.
pub(super) const MAX_ELEMENT_BYTES: usize = 64 * 1024;

/// An element of the array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its text, which need not be JSON; `None` when it is too long.
    pub(super) text: Option<Vec<u8>>,
}

/// Why a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("line {line}: {fault}")]
    Json { line: u64, fault: String },
    #[error("line {line}: cannot be read")]
    Read {
        line: u64,
        #[source]
        error: io::Error,
    },
}

/// Reads an array.
pub(super) struct Elements<R: BufRead> {
    bytes: Peekable<Bytes<R>>,
    line: u64,
    is_begun: bool,
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { bytes: reader.bytes().peekable(), line: 1, is_begun: false }
    }

    /// The next element; `None` at the end of the file behind the array.
    pub(super) fn next(&mut self) -> Result<Option<Element>, Malformed> {
        self.skip_whitespace()?;
        let is_first = !self.is_begun;
        if is_first {
            if self.peek()? != Some(b'[') {
                return Err(self.malformed("the file must be a JSON array of objects"));
            }
            self.bump();
            self.is_begun = true;
            self.skip_whitespace()?;
        }
        match self.peek()? {
            Some(b']') => {
                self.bump();
                self.skip_whitespace()?;
                match self.peek()? {
                    None => Ok(None),
                    Some(_) => Err(self.malformed("there is text behind the array")),
                }
            }
            Some(b',') if !is_first => {
                self.bump();
                self.skip_whitespace()?;
                self.element().map(Some)
            }
            Some(_) if is_first => self.element().map(Some),
            Some(_) => Err(self.malformed("`,` or `]` must follow an element")),
            None => Err(self.malformed("the file ends within the array")),
        }
    }

    fn element(&mut self) -> Result<Element, Malformed> {
        let line = self.line;
        let mut text = Vec::new();
        let (mut depth, mut length) = (0_u64, 0_usize);
        let (mut is_text, mut is_escaped) = (false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return Err(self.malformed("the file ends within the array"));
            };
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_text => is_escaped = true,
                b'"' => is_text = !is_text,
                _ if is_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.bump();
            length += 1;
            if length <= MAX_ELEMENT_BYTES {
                text.push(byte);
            }
        }
        if length == 0 {
            return Err(self.malformed("an element is missing"));
        }
        Ok(Element { line, text: (length <= MAX_ELEMENT_BYTES).then_some(text) })
    }

    fn skip_whitespace(&mut self) -> Result<(), Malformed> {
        while matches!(self.peek()?, Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.bump();
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, Malformed> {
        match self.bytes.next_if(Result::is_err) {
            Some(Err(error)) => Err(Malformed::Read { line: self.line, error }),
            _ => Ok(self.bytes.peek().and_then(|byte| byte.as_ref().ok()).copied()),
        }
    }

    fn bump(&mut self) {
        if let Some(Ok(b'\n')) = self.bytes.next() {
            self.line += 1;
        }
    }

    fn malformed(&self, fault: &str) -> Malformed {
        Malformed::Json { line: self.line, fault: fault.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(u64, String)>, String> {
        // A small buffer, so that elements cross its end.
        let mut elements = Elements::new(BufReader::with_capacity(3, text));
        let mut found = Vec::new();
        while let Some(Element { line, text }) =
            elements.next().map_err(|error| error.to_string())?
        {
            let text = text.map_or("too long".into(), |text| String::from_utf8_lossy(&text).into());
            found.push((line, text));
        }
        Ok(found)
    }

    #[test]
    fn elements_have_the_line_of_their_beginning() {
        let text = b"\n[\n{\"a\": \"]},\\\"\\\\\"},\n\n [1,\n[2]]\n,null , \"x\"] \n";
        let found = read(text).expect("an array");
        let expected =
            [(3, r#"{"a": "]},\"\\"}"#), (5, "[1,\n[2]]\n"), (7, "null "), (7, r#""x""#)];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(read(b"[]"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_array_is_rejected_with_its_line() {
        for (text, expected) in [
            ("", "line 1: the file must be a JSON array"),
            ("\n{\"users\": []}", "line 2: the file must be a JSON array"),
            ("\u{feff}[]", "line 1: the file must be a JSON array"),
            ("[\n", "line 2: the file ends within the array"),
            ("[{\n\"a\": 1", "line 2: the file ends within the array"),
            ("[\"a]", "line 1: the file ends within the array"),
            ("[1\n,]", "line 2: an element is missing"),
            ("[,1]", "line 1: an element is missing"),
            ("[1}", "line 1: `,` or `]` must follow"),
            ("[1]\n\n[2]", "line 3: there is text behind the array"),
        ] {
            let fault = read(text.as_bytes()).expect_err(text);
            assert!(fault.starts_with(expected), "{text:?}: {fault}");
        }
    }

    #[test]
    fn a_long_element_is_not_kept_and_the_next_one_is() {
        let long = "x".repeat(2 * MAX_ELEMENT_BYTES);
        let found = read(format!("[\"{long}\",\n1]").as_bytes()).expect("an array");
        assert_eq!(found, [(1, "too long".to_owned()), (2, "1".to_owned())]);
    }
}
