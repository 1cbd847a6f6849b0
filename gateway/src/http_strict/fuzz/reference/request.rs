//! A request's header, read whole and slowly.

use proto_contracts::{Authority, path};

use crate::http_strict::fuzz::reference::header::{Framed, Header, text};

/// What an accepted header says.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) len: usize,
    pub(crate) method: String,
    pub(crate) is_http_1_0: bool,
    /// Canonical.
    pub(crate) target: String,
    pub(crate) path_len: usize,
    pub(crate) expects_continue: bool,
    pub(crate) websocket: bool,
    pub(crate) framed: Framed,
}

/// The request at the front; `None` if there is no valid and complete one.
pub(crate) fn read(bytes: &[u8], max_fields: usize) -> Option<Request> {
    let header = Header::read(bytes, max_fields)?;
    let line = std::str::from_utf8(header.first_line).ok()?;
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let is_http_1_0 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method) {
        return None;
    }
    let (authority, path, query) = parts(method, target)?;
    let framed = header.framed(is_http_1_0, max_fields)?;
    let host = match header.values("host")[..] {
        [] if is_http_1_0 && authority.is_none() => None,
        [host] => Some(Authority::parse(host)?),
        _ => return None,
    };
    if let (Some(host), Some((authority, default_port))) = (host, authority)
        && !host.is_same_as(&authority, default_port)
    {
        return None;
    }
    let upgrades = header.values("upgrade");
    let websocket = upgrades.len() == 1 && text(upgrades[0]) == "websocket";
    let has_body = framed.chunked || framed.length.is_some_and(|length| length > 0);
    if !upgrades.is_empty() && (!websocket || is_http_1_0 || has_body) {
        return None;
    }
    let mut expects = header.values("expect").into_iter().map(text);
    if !is_http_1_0 && expects.any(|value| value != "100-continue") {
        return None;
    }
    Some(Request {
        len: header.len,
        method: method.to_owned(),
        is_http_1_0,
        target: format!("{path}{query}"),
        path_len: path.len(),
        expects_continue: !is_http_1_0 && !header.values("expect").is_empty(),
        websocket,
        framed,
    })
}

type Parts<'a> = (Option<(Authority<'a>, u16)>, String, &'a str);

/// The host with its default port, the canonical path, and the query.
fn parts<'a>(method: &str, target: &'a str) -> Option<Parts<'a>> {
    let allowed = "!$%&'()*+,-./:;=?@[]^_{|}~";
    if !target.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c)) {
        return None;
    }
    for (place, _) in target.match_indices('%') {
        let digits = target.get(place + 1..place + 3)?;
        if !digits.chars().all(|c| c.is_ascii_hexdigit()) || digits == "00" {
            return None;
        }
    }
    if target == "*" && method == "OPTIONS" {
        return Some((None, "*".to_owned(), ""));
    }
    let (authority, rest) = if target.starts_with('/') {
        (None, target)
    } else {
        let (scheme, rest) = target.split_once("://")?;
        let default_port = match &scheme.to_ascii_lowercase()[..] {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        (Some((Authority::parse(authority.as_bytes())?, default_port)), rest)
    };
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let path = path::canonical(path).ok()?.into_owned();
    Some((authority, if path.is_empty() { "/".to_owned() } else { path }, query))
}
