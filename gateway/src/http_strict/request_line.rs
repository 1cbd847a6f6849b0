//! The request line: method, target and version.

use std::borrow::Cow;
use std::ops::Range;

use proto_contracts::{Authority, path};

use crate::http_strict::fault::Fault;
use crate::http_strict::token;

/// The supported methods.
const METHODS: [&[u8]; 7] = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"];
/// Maximum bytes of a request line besides its target: method, two spaces and version.
const AROUND_TARGET: usize = 32;

/// A valid request line.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) version: Version,
    /// Set for a target in absolute form.
    pub(super) absolute: Option<Absolute>,
    /// The canonical target and the range that it replaces; `None` when the target is canonical.
    pub(super) rewritten: Option<(Range<usize>, String)>,
}

/// The host of a target in absolute form.
#[derive(Debug)]
pub(super) struct Absolute {
    /// The range of host and port in the header.
    pub(super) authority: Range<usize>,
    /// The port of the scheme.
    pub(super) default_port: u16,
}

/// The supported versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// Whether the incomplete request line is already too long.
pub(super) fn is_too_long(bytes: &[u8], max_target: usize) -> bool {
    bytes.len() > max_target + AROUND_TARGET
}

impl RequestLine {
    /// Parses the line, which starts at offset `start`.
    pub(super) fn parse(line: &[u8], start: usize, max_target: usize) -> Result<Self, Fault> {
        let Some(method_end) = memchr::memchr(b' ', line) else { return Err(Fault::NoRequestLine) };
        let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
        if method.is_empty() || token::token_len(method) != method.len() {
            return Err(Fault::BadMethod);
        }
        let Some(target_end) = memchr::memchr(b' ', rest) else {
            // `GET /` alone is HTTP/0.9.
            return Err(if rest.is_empty() {
                Fault::NoRequestLine
            } else {
                Fault::UnsupportedVersion
            });
        };
        let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
        if target.len() > max_target {
            return Err(Fault::TargetTooLong);
        }
        let version = read_version(version)?;
        if let Some(byte) = token::not_in_target(target) {
            return Err(if byte.is_ascii_graphic() {
                Fault::BadTarget
            } else {
                Fault::IllegalByteInTarget
            });
        }
        if !is_well_escaped(target) {
            return Err(Fault::BadEscape);
        }
        if !METHODS.contains(&method) {
            return Err(Fault::UnknownMethod);
        }
        let target_start = start + method_end + 1;
        let (absolute, path_start) = match target {
            [b'/', ..] => (None, 0),
            b"*" if method == b"OPTIONS" => (None, 0),
            _ => {
                let Absolute { authority, default_port } =
                    absolute(target).ok_or(Fault::BadTarget)?;
                let path_start = authority.end;
                let authority = target_start + authority.start..target_start + authority.end;
                (Some(Absolute { authority, default_port }), path_start)
            }
        };
        let path =
            std::str::from_utf8(&target[path_start..]).map_err(|_| Fault::IllegalByteInTarget)?;
        let (path, query) =
            path.split_at(memchr::memchr(b'?', path.as_bytes()).unwrap_or(path.len()));
        let rewritten = match (path::canonical(path)?, &absolute) {
            (Cow::Borrowed(_), None) => None,
            (canonical, _) => {
                let root = if canonical.is_empty() { "/" } else { "" };
                Some((
                    target_start..target_start + target.len(),
                    format!("{root}{canonical}{query}"),
                ))
            }
        };
        Ok(Self { version, absolute, rewritten })
    }
}

fn read_version(text: &[u8]) -> Result<Version, Fault> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        // More than three words: the target contains a space.
        _ if text.contains(&b' ') => Err(Fault::IllegalByteInTarget),
        [b'H', b'T', b'T', b'P', b'/', major, rest @ ..] if major.is_ascii_digit() => match rest {
            [] => Err(Fault::UnsupportedVersion),
            [b'.', minor] if minor.is_ascii_digit() => Err(Fault::UnsupportedVersion),
            _ => Err(Fault::BadVersion),
        },
        _ => Err(Fault::BadVersion),
    }
}

/// Whether each `%` is followed by two hex digits other than 00.
fn is_well_escaped(target: &[u8]) -> bool {
    memchr::memchr_iter(b'%', target).all(|at| match target.get(at + 1..at + 3) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00",
        None => false,
    })
}

/// The host of a target such as `http://host:port/path`.
fn absolute(target: &[u8]) -> Option<Absolute> {
    let (scheme, default_port) =
        [(&b"http://"[..], 80), (b"https://", 443)].into_iter().find(|(scheme, _)| {
            target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme))
        })?;
    let start = scheme.len();
    let end = target[start..]
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .map_or(target.len(), |at| start + at);
    Authority::parse(&target[start..end])?;
    Some(Absolute { authority: start..end, default_port })
}
