//! The request line: method, target and version.

use std::borrow::Cow;
use std::ops::Range;

use proto_contracts::{Authority, path};

use crate::http_strict::fault::Fault;
use crate::http_strict::token::{self, TargetBytes};
use crate::http_strict::version::Version;

/// Maximum bytes of a request line besides its target: method, two spaces and version.
const AROUND_TARGET: usize = 32;

/// A valid request line.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The range of the target as sent.
    pub(super) target: Range<usize>,
    /// Length of the path in the canonical target.
    pub(super) path_len: usize,
    /// Set for a target in absolute form.
    pub(super) absolute: Option<Absolute>,
    /// The canonical target; `None` when the target as sent is canonical.
    pub(super) rewritten: Option<String>,
}

/// The host of a target in absolute form.
#[derive(Debug)]
pub(super) struct Absolute {
    /// The range of host and port in the header.
    pub(super) authority: Range<usize>,
    /// The port of the scheme.
    pub(super) default_port: u16,
}

/// The supported methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// As in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            _ => return None,
        })
    }
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Head => Self::HEAD,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
            Method::Options => Self::OPTIONS,
        }
    }
}

/// Whether the incomplete request line is already too long.
pub(super) fn is_too_long(bytes: &[u8], max_target: usize) -> bool {
    bytes.len() > max_target + AROUND_TARGET
}

impl RequestLine {
    /// Parses the line, which starts at offset `start`.
    pub(super) fn parse(line: &[u8], start: usize, max_target: usize) -> Result<Self, Fault> {
        // Too short for a vectorized search.
        let Some(method_end) = line.iter().position(|&byte| byte == b' ') else {
            return Err(Fault::NoRequestLine);
        };
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
        let path_end = memchr::memchr(b'?', target).unwrap_or(target.len());
        let is_plain = target.starts_with(b"/") && path::is_plain(&target[..path_end]);
        check_bytes(if is_plain { &target[path_end..] } else { target })?;
        let method = Method::parse(method).ok_or(Fault::UnknownMethod)?;
        let target_start = start + method_end + 1;
        let (absolute, path_start) = match target {
            [b'/', ..] => (None, 0),
            b"*" if method == Method::Options => (None, 0),
            _ => {
                let Absolute { authority, default_port } =
                    absolute(target).ok_or(Fault::BadTarget)?;
                let path_start = authority.end;
                let authority = target_start + authority.start..target_start + authority.end;
                (Some(Absolute { authority, default_port }), path_start)
            }
        };
        let (rewritten, path_len) = if is_plain {
            (None, path_end)
        } else {
            rewrite(&target[path_start..], path_end - path_start, absolute.is_some())?
        };
        let target = target_start..target_start + target.len();
        Ok(Self { method, version, target, path_len, absolute, rewritten })
    }
}

/// Makes sure that a target has only bytes that it may have.
fn check_bytes(target: &[u8]) -> Result<(), Fault> {
    if target.is_empty() {
        return Ok(());
    }
    let TargetBytes { forbidden, escapes } = token::target_bytes(target);
    match forbidden {
        Some(byte) if byte.is_ascii_graphic() => Err(Fault::BadTarget),
        Some(_) => Err(Fault::IllegalByteInTarget),
        None if escapes && !is_well_escaped(target) => Err(Fault::BadEscape),
        None => Ok(()),
    }
}

/// The canonical target if it differs, and the length of its path. `path` has the query, too.
fn rewrite(
    path: &[u8],
    path_len: usize,
    is_absolute: bool,
) -> Result<(Option<String>, usize), Fault> {
    let path = std::str::from_utf8(path).map_err(|_| Fault::IllegalByteInTarget)?;
    let (path, query) = path.split_at(path_len);
    Ok(match path::canonical(path)? {
        Cow::Borrowed(_) if !is_absolute => (None, path_len),
        canonical => {
            let root = if canonical.is_empty() { "/" } else { "" };
            (Some(format!("{root}{canonical}{query}")), root.len() + canonical.len())
        }
    })
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
