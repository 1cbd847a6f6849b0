//! Reads messages in canonical form, without the gateway's own parsers.

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub line: String,
    /// In order, with names in lower case.
    pub fields: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection; a request has none.
    UntilClose,
}

impl Head {
    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| &**value).collect()
    }

    /// The framing; an error if two parsers may read it differently.
    pub(super) fn body(&self) -> Result<Body, String> {
        match (&self.all("content-length")[..], &self.all("transfer-encoding")[..]) {
            ([], []) => Ok(Body::UntilClose),
            ([], ["chunked"]) => Ok(Body::Chunked),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map(Body::Length).map_err(|error| format!("{length}: {error}"))
            }
            framing => Err(format!("the framing {framing:?}")),
        }
    }
}

/// The header at the front and its length; `None` while incomplete.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    // Values may have bytes beyond ASCII.
    let text: String = bytes[..end].iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("the line {line:?}"))?;
        let is_token =
            |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("the name {name:?}"));
        }
        fields
            .push((name.to_ascii_lowercase(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
    }
    let is_control =
        |text: &str| text.contains(|c: char| matches!(c, '\0'..='\x08' | '\n'..='\x1f' | '\x7f'));
    if is_control(&line) || fields.iter().any(|(_, value)| is_control(value)) {
        return Err("a control character".to_owned());
    }
    Ok(Some((Head { line, fields }, end + 4)))
}

/// The body and its length with framing; `None` while incomplete.
pub(super) fn body(framing: Body, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    match framing {
        Body::Length(length) => Ok(bytes.get(..length).map(|body| (body.to_vec(), length))),
        Body::UntilClose => Ok(None),
        Body::Chunked => chunks(bytes),
    }
}

fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = String::from_utf8_lossy(&bytes[at..at + end]);
        let size = usize::from_str_radix(&digits, 16).map_err(|_| format!("size {digits:?}"))?;
        at += end + 2;
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk without an end".to_owned());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}
