//! A header as lines and fields, read whole and slowly.

use crate::http_strict::fuzz::reference::chunked::{is_text_byte, is_token_byte};

/// The fields of an input that has a whole header at its front.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) first_line: &'a [u8],
    pub(crate) fields: Vec<Field<'a>>,
    /// With the empty line.
    pub(crate) len: usize,
}

#[derive(Debug)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// What fields say about the end of a body and of the connection.
#[derive(Debug, PartialEq)]
pub(crate) struct Framed {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// In lower case, with their values, and whether `Connection` names them.
    pub(crate) fields: Vec<(String, Vec<u8>, bool)>,
}

impl<'a> Header<'a> {
    pub(crate) fn read(bytes: &'a [u8], max_fields: usize) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let mut lines = Vec::new();
        let mut rest = &bytes[..end + 2];
        while let Some(line_end) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..line_end]);
            rest = &rest[line_end + 2..];
        }
        if !lines.concat().iter().all(|&byte| is_text_byte(byte)) || lines.len() > max_fields + 1 {
            return None;
        }
        let fields = lines[1..].iter().map(|line| Field::read(line)).collect::<Option<_>>()?;
        Some(Self { first_line: lines[0], fields, len: end + 4 })
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = |field: &&Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| field.value).collect()
    }

    /// `None` when they contradict each other, or are not understood.
    pub(crate) fn framed(&self, is_http_1_0: bool, max_options: usize) -> Option<Framed> {
        let length = match self.values("content-length")[..] {
            [] => None,
            [value] if value.iter().all(u8::is_ascii_digit) && value.len() <= 19 => {
                Some(text(value).parse().ok()?)
            }
            _ => return None,
        };
        let chunked = match self.values("transfer-encoding")[..] {
            [] => false,
            [value] if text(value) == "chunked" && length.is_none() && !is_http_1_0 => true,
            _ => return None,
        };
        let options = self.values("connection").join(&b","[..]);
        let options: Vec<_> = text(&options)
            .split(',')
            .map(|option| option.trim_ascii().to_owned())
            .filter(|option| !option.is_empty())
            .collect();
        let is_known = |option: &&String| ["close", "keep-alive", "upgrade"].contains(&&option[..]);
        if options.iter().filter(|option| !is_known(option)).count() > max_options {
            return None;
        }
        let has = |wanted: &str| options.iter().any(|option| option == wanted);
        const NEVER_NAMED: &[&str] = &[
            "host",
            "content-length",
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        let fields = self.fields.iter().map(|field| {
            let name = text(field.name);
            let named = has(&name) && !NEVER_NAMED.contains(&&name[..]);
            // Known options are not looked up among the fields.
            let named = named && name != "close";
            (name, field.value.to_vec(), named)
        });
        let (close, keep_alive, upgrade) = (has("close"), has("keep-alive"), has("upgrade"));
        Some(Framed { length, chunked, close, keep_alive, upgrade, fields: fields.collect() })
    }
}

impl<'a> Field<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is_name = !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte));
        is_name.then(|| Self { name, value: value.trim_ascii() })
    }
}

/// In lower case; other than UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}
