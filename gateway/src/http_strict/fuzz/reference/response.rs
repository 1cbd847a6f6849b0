//! A response's header, read whole and slowly.

use crate::http_strict::fuzz::reference::header::{Framed, Header};

/// What an accepted header says.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) is_http_1_0: bool,
    pub(crate) reason: Vec<u8>,
    pub(crate) framed: Framed,
}

/// The response at the front; `None` if there is no valid and complete one.
pub(crate) fn read(bytes: &[u8], max_fields: usize) -> Option<Response> {
    let header = Header::read(bytes, max_fields)?;
    let line = header.first_line;
    let is_http_1_0 = match line.get(..9)? {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return None,
    };
    let digits = line.get(9..12)?;
    let reason = match &line[12..] {
        [] => &[],
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let status = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    let framed = header.framed(is_http_1_0, max_fields)?;
    let has_body = framed.chunked || framed.length.is_some_and(|length| length > 0);
    if !(100..600).contains(&status) || has_body && (status < 200 || status == 204) {
        return None;
    }
    Some(Response { len: header.len, status, is_http_1_0, reason: reason.to_vec(), framed })
}
