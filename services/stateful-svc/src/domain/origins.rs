//! Whose pages may open a WebSocket. Browsers let any page do so, with the visitor's cookies, and tell the page's origin.

use std::str::FromStr;

/// The origins that may connect beside our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Origin>);

/// `scheme://host` or `scheme://host:port` (RFC 6454, section 6.1), in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// The text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no origin; write scheme://host or scheme://host:port, and commas between several")]
pub struct InvalidOrigin(String);

impl FromStr for AllowedOrigins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let listed = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let parse = |origin: &str| Origin::parse(origin).ok_or_else(|| InvalidOrigin(origin.to_owned()));
        listed.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedOrigins {
    /// Whether a page of this origin may connect to the host that it named. Without an origin it is no browser, and may.
    ///
    /// A host without a port says nothing of the port: Nginx leaves it out.
    pub fn allow(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        let Some(origin) = origin else { return true };
        // `null`, which a sandboxed page sends, is nobody's.
        let Some(origin) = str::from_utf8(origin).ok().and_then(Origin::parse) else { return false };
        let host = host.and_then(|host| str::from_utf8(host).ok()).and_then(authority);
        host.is_some_and(|(host, port)| host == origin.host && port.is_none_or(|port| Some(port) == origin.port()))
            || self.0.iter().any(|allowed| allowed.same_as(&origin))
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = authority(rest)?;
        is_scheme.then(|| Self { scheme: scheme.to_ascii_lowercase(), host, port })
    }

    fn port(&self) -> Option<u16> {
        self.port.or(match self.scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        })
    }

    fn same_as(&self, other: &Self) -> bool {
        (&self.scheme, &self.host, self.port()) == (&other.scheme, &other.host, other.port())
    }
}

/// The host in lower case and the port of `host`, `host:port` or `[v6]:port`.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A port that was left out, colon or not, is the default one.
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    (is_v6 || is_name).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(listed: &str, origin: &str, host: &str) -> bool {
        let listed: AllowedOrigins = listed.parse().expect("origins");
        listed.allow(Some(origin.as_bytes()), Some(host.as_bytes()))
    }

    #[test]
    fn our_own_pages_may_connect() {
        for (origin, host) in [
            ("https://localhost:8443", "localhost"),
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("https://Tandem.example", "tandem.example:443"),
            ("https://tandem.example:443", "tandem.example"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert!(allow("", origin, host), "{origin} to {host}");
        }
        for (origin, host) in [
            ("https://evil.example", "tandem.example"),
            ("https://tandem.example.evil.example", "tandem.example"),
            ("https://tandem.example:8443", "tandem.example:443"),
            ("http://tandem.example", "tandem.example:443"),
            ("null", "tandem.example"),
            ("", "tandem.example"),
            ("https://tandem.example/", "tandem.example"),
            ("https://evil@tandem.example", "tandem.example"),
            ("https://tandem.example", ""),
        ] {
            assert!(!allow("", origin, host), "{origin} to {host}");
        }
        assert!(AllowedOrigins::default().allow(None, Some(b"tandem.example")), "no browser");
        assert!(!AllowedOrigins::default().allow(Some(b"https://\xff"), Some(b"tandem.example")));
    }

    #[test]
    fn configured_origins_may_connect_and_are_compared_whole() {
        let listed = "https://app.example, http://[::1]:3000";
        for origin in ["https://app.example", "https://APP.example:443", "http://[::1]:3000"] {
            assert!(allow(listed, origin, "tandem.example"), "{origin}");
        }
        for origin in ["http://app.example", "https://app.example:8443", "https://www.app.example", "http://[::1]"] {
            assert!(!allow(listed, origin, "tandem.example"), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["app.example", "https://", "https://app.example/", "*", "https://a:99999", "https://a b", "://a"] {
            assert_eq!(bad.parse::<AllowedOrigins>(), Err(InvalidOrigin(bad.to_owned())), "{bad}");
        }
        assert_eq!("".parse(), Ok(AllowedOrigins::default()));
    }
}
