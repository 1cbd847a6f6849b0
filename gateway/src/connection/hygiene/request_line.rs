//! The request line: method, target and version.

use std::ops::Range;

use crate::connection::hygiene::{Fault, token};

/// The methods that the API knows; of all others an answer would say no more than that.
const METHODS: [&[u8]; 7] = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"];
/// The longest that a request line can be around its target: a method, two spaces and a version.
const AROUND_TARGET: usize = 32;

/// A request line that is fine by itself.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) version: Version,
    /// Where the header names the host in its target, when it does: the target is in absolute form then.
    pub(super) authority: Option<Range<usize>>,
}

/// The versions that the gateway speaks with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// Whether a request line of which this has come cannot end within the limit.
pub(super) fn is_too_long(bytes: &[u8], max_target: usize) -> bool {
    bytes.len() > max_target + AROUND_TARGET
}

impl RequestLine {
    /// Reads it; the line starts at this place of the header.
    pub(super) fn parse(line: &[u8], start: usize, max_target: usize) -> Result<Self, Fault> {
        let Some(method_end) = memchr::memchr(b' ', line) else { return Err(Fault::NoRequestLine) };
        let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
        if method.is_empty() || token::token_len(method) != method.len() {
            return Err(Fault::BadMethod);
        }
        let Some(target_end) = memchr::memchr(b' ', rest) else {
            // `GET /` alone is HTTP/0.9.
            return Err(if rest.is_empty() { Fault::NoRequestLine } else { Fault::UnsupportedVersion });
        };
        let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
        if target.len() > max_target {
            return Err(Fault::TargetTooLong);
        }
        let version = read_version(version)?;
        if let Some(byte) = token::not_in_target(target) {
            return Err(if byte.is_ascii_graphic() { Fault::BadTarget } else { Fault::IllegalByteInTarget });
        }
        if !is_well_escaped(target) {
            return Err(Fault::BadEscape);
        }
        if !METHODS.contains(&method) {
            return Err(Fault::UnknownMethod);
        }
        let authority = match target {
            [b'/', ..] => None,
            b"*" if method == b"OPTIONS" => None,
            _ => {
                let target_start = start + method_end + 1;
                let authority = absolute_authority(target).ok_or(Fault::BadTarget)?;
                Some(target_start + authority.start..target_start + authority.end)
            }
        };
        Ok(Self { version, authority })
    }
}

fn read_version(text: &[u8]) -> Result<Version, Fault> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        // More words than three: what is meant as the target has a space in it.
        _ if text.contains(&b' ') => Err(Fault::IllegalByteInTarget),
        [b'H', b'T', b'T', b'P', b'/', major, rest @ ..] if major.is_ascii_digit() => match rest {
            [] => Err(Fault::UnsupportedVersion),
            [b'.', minor] if minor.is_ascii_digit() => Err(Fault::UnsupportedVersion),
            _ => Err(Fault::BadVersion),
        },
        _ => Err(Fault::BadVersion),
    }
}

/// Whether each `%` is followed by two hex digits that do not make a NUL.
fn is_well_escaped(target: &[u8]) -> bool {
    memchr::memchr_iter(b'%', target).all(|at| match target.get(at + 1..at + 3) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00",
        None => false,
    })
}

/// Where the host stands in a target such as `http://host:port/path`.
fn absolute_authority(target: &[u8]) -> Option<Range<usize>> {
    let start = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme)))?
        .len();
    let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(target.len(), |at| start + at);
    is_host(&target[start..end]).then_some(start..end)
}

/// Whether this names a host, and a port where it likes to: a name, an IPv4 address or an IPv6 address in brackets.
pub fn is_host(text: &[u8]) -> bool {
    let (host_is_fine, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let is_ipv6 = std::str::from_utf8(&rest[..end]).is_ok_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
            (is_ipv6, &rest[end + 1..])
        }
        None => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            (end > 0 && token::is_name(&text[..end]), &text[end..])
        }
    };
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => {
            // No sign, which the parser would take.
            digits.first().is_some_and(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    };
    host_is_fine && port_is_fine
}
