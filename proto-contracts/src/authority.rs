//! The host and port of a URI or of a `Host` field, compared as URIs are (RFC 3986, section 6.2).

use std::net::Ipv6Addr;

/// A host and an optional port.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses a name, an IPv4 address or an IPv6 address in brackets, with an optional port. `a:`
    /// has no port.
    ///
    /// `None` for anything else, including user information.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let host_len = match text {
            [b'[', rest @ ..] => rest.iter().position(|&byte| byte == b']')? + 2,
            _ => text.iter().position(|&byte| !is_of_name(byte)).unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_len);
        let is_host = match host {
            [b'[', ..] => ipv6(host).is_some(),
            _ => !host.is_empty(),
        };
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port_number(digits)?),
            _ => return None,
        };
        is_host.then_some(Self { host, port })
    }

    /// The authority of a request: from an absolute-form target, else from the `Host` field (RFC
    /// 9112, section 3.2.2). `None` when it is missing, malformed, or there are two `Host` fields.
    pub fn requested(
        target: Option<&'a str>,
        mut fields: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        match (target, fields.next(), fields.next()) {
            (Some(target), _, _) => Self::parse(target.as_bytes()),
            (None, Some(field), None) => Self::parse(field),
            _ => None,
        }
    }

    /// The port, if the text has one.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both have the same host and port. `default_port` is the scheme's.
    pub fn is_same_as(&self, other: &Authority<'_>, default_port: u16) -> bool {
        self.has_same_host(other)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// Whether both have the same host, whatever the ports.
    pub fn has_same_host(&self, other: &Authority<'_>) -> bool {
        self.has_host(other.host)
    }

    /// Whether this is the host, whatever the port. An IPv6 address must be in brackets.
    pub fn has_host(&self, host: &[u8]) -> bool {
        self.host.eq_ignore_ascii_case(host)
            || ipv6(self.host).is_some_and(|own| ipv6(host) == Some(own))
    }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |port, &byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let address = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(address).ok()?.parse().ok()
}

fn is_of_name(byte: u8) -> bool {
    OF_NAME[usize::from(byte)]
}

/// The bytes of a name. A table, for each request has one.
const OF_NAME: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Authority<'_>> {
        Authority::parse(text.as_bytes())
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for text in [
            "a",
            "a:",
            "a.b-c_d~",
            "localhost:8443",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:",
            "[::1]:65535",
            "a:080",
        ] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "", ":", ":1", "a:b", "a:+1", "a:65536", "a:1:2", "[::1", "::1", "[a]", "[::1]x",
            "a/b", "u@a", "a%20", "ä",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn authorities_compare_as_uris_do() {
        let same = |one: &str, other: &str, default_port| {
            parse(one).expect("a host").is_same_as(&parse(other).expect("a host"), default_port)
        };
        for (one, other) in [
            ("a", "A"),
            ("a:80", "a"),
            ("a:", "a"),
            ("a:0080", "a:80"),
            ("[::1]", "[0:0:0:0:0:0:0:1]:80"),
        ] {
            assert!(same(one, other, 80) && same(other, one, 80), "{one} {other}");
        }
        assert!(same("a", "a:443", 443));
        for (one, other) in
            [("a", "b"), ("a:443", "a"), ("a:81", "a:80"), ("[::1]", "[::2]"), ("a", "a.")]
        {
            assert!(!same(one, other, 80), "{one} {other}");
        }
    }
}
