//! Header fields: their syntax, and those that determine the request's framing.

use std::ops::Range;

use proto_contracts::Authority;

use crate::http_strict::fault::Fault;
use crate::http_strict::request_line::{RequestLine, Version};
use crate::http_strict::token;

/// Maximum digits of a length: any 19 fit into 64 bits.
const MAX_LENGTH_DIGITS: usize = 19;

/// The fields so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    host: Option<Range<usize>>,
    /// Whether a declared length is not 0.
    length: Option<bool>,
    chunked: bool,
    upgrade: bool,
    expects_continue: bool,
}

impl Fields {
    /// Parses a line that starts at offset `start`.
    pub(super) fn take(
        &mut self,
        line: &[u8],
        start: usize,
        max_fields: usize,
    ) -> Result<(), Fault> {
        let name_len = token::token_len(line);
        match line.get(name_len) {
            Some(b':') if name_len > 0 => {}
            Some(b' ' | b'\t') if name_len == 0 => return Err(Fault::FoldedLine),
            Some(b' ' | b'\t') => return Err(Fault::SpaceInName),
            Some(_) => return Err(Fault::BadName),
            None => return Err(Fault::NoColon),
        }
        self.count += 1;
        if self.count > max_fields {
            return Err(Fault::TooManyFields);
        }
        let named = |name: &[u8]| line[..name_len].eq_ignore_ascii_case(name);
        // The length excludes most names.
        match name_len {
            4 if named(b"host") => self.take_host(line, name_len + 1, start),
            6 if named(b"expect") => self.take_expect(trim(&line[name_len + 1..])),
            7 if named(b"upgrade") => self.take_upgrade(trim(&line[name_len + 1..])),
            14 if named(b"content-length") => self.take_length(trim(&line[name_len + 1..])),
            17 if named(b"transfer-encoding") => self.take_coding(trim(&line[name_len + 1..])),
            _ => Ok(()),
        }
    }

    /// Whether a body in chunks follows.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Checks that they are consistent with each other and the request line.
    pub(super) fn fit(&self, request: &RequestLine, header: &[u8]) -> Result<(), Fault> {
        match (&self.host, &request.absolute) {
            (None, Some(_)) => return Err(Fault::NoHost),
            (None, None) if request.version == Version::Http11 => return Err(Fault::NoHost),
            (Some(host), Some(absolute)) => {
                let named = |at: &Range<usize>| Authority::parse(&header[at.clone()]);
                let same = named(host)
                    .zip(named(&absolute.authority))
                    .is_some_and(|(host, target)| host.is_same_as(&target, absolute.default_port));
                if !same {
                    return Err(Fault::HostDiffers);
                }
            }
            _ => {}
        }
        if self.chunked && self.length.is_some() {
            return Err(Fault::LengthAndChunks);
        }
        if request.version == Version::Http10 {
            if self.chunked {
                return Err(Fault::ChunksInHttp10);
            }
            if self.expects_continue {
                return Err(Fault::UnknownExpectation);
            }
            if self.upgrade {
                return Err(Fault::UnknownUpgrade);
            }
        }
        if self.upgrade && (self.chunked || self.length == Some(true)) {
            return Err(Fault::UpgradeWithBody);
        }
        Ok(())
    }

    fn take_host(&mut self, line: &[u8], value_start: usize, start: usize) -> Result<(), Fault> {
        if self.host.is_some() {
            return Err(Fault::SeveralHosts);
        }
        let value = &line[value_start..];
        let leading = value.len() - value.trim_ascii_start().len();
        let host = trim(value);
        if Authority::parse(host).is_none() {
            return Err(Fault::BadHost);
        }
        let host_start = start + value_start + leading;
        self.host = Some(host_start..host_start + host.len());
        Ok(())
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Fault::UnknownExpectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_upgrade(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.upgrade || !value.eq_ignore_ascii_case(b"websocket") {
            return Err(Fault::UnknownUpgrade);
        }
        self.upgrade = true;
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::SeveralLengths);
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::BadLength);
        }
        if value.len() > MAX_LENGTH_DIGITS {
            return Err(Fault::BadLength);
        }
        self.length = Some(value.iter().any(|&digit| digit != b'0'));
        Ok(())
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::SeveralCodings);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            let several = value.contains(&b',');
            return Err(if several { Fault::SeveralCodings } else { Fault::UnknownCoding });
        }
        self.chunked = true;
        Ok(())
    }
}

/// Without surrounding white space.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
