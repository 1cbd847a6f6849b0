//! The origins whose pages may open a WebSocket. Browsers let any page do so, with the visitor's
//! cookies, and send the page's origin.

use std::str::FromStr;

use proto_contracts::Authority;
use service_kit::origin::Origin;

/// The origins that may connect, beside the service's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Origin>);

/// The text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an origin; write scheme://host or scheme://host:port, separated by commas")]
pub struct InvalidOrigin(String);

impl FromStr for AllowedOrigins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let listed = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let parse =
            |origin: &str| Origin::parse(origin).ok_or_else(|| InvalidOrigin(origin.to_owned()));
        listed.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedOrigins {
    /// Whether a page of this origin may connect to this host. A request without an origin is not
    /// from a browser, and is allowed.
    ///
    /// A host without a port matches any port, since another edge than ours may omit it.
    pub fn allow(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        let Some(origin) = origin else { return true };
        // A sandboxed page sends `null`, which no configuration can allow.
        let Some(origin) = str::from_utf8(origin).ok().and_then(Origin::parse) else {
            return false;
        };
        let is_own =
            host.and_then(Authority::parse).zip(origin.authority()).is_some_and(|(host, named)| {
                named.has_same_host(&host)
                    && host
                        .port()
                        .is_none_or(|port| port == named.port().unwrap_or(origin.default_port()))
            });
        is_own || self.0.iter().any(|allowed| allowed.same_as(&origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(listed: &str, origin: &str, host: &str) -> bool {
        let listed: AllowedOrigins = listed.parse().expect("origins");
        listed.allow(Some(origin.as_bytes()), Some(host.as_bytes()))
    }

    #[test]
    fn same_origin_pages_may_connect() {
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
    fn configured_origins_may_connect_by_exact_match() {
        let listed = "https://app.example, http://[::1]:3000";
        for origin in ["https://app.example", "https://APP.example:443", "http://[::1]:3000"] {
            assert!(allow(listed, origin, "tandem.example"), "{origin}");
        }
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://www.app.example",
            "http://[::1]",
        ] {
            assert!(!allow(listed, origin, "tandem.example"), "{origin}");
        }
    }

    #[test]
    fn malformed_origins_are_rejected() {
        for bad in [
            "app.example",
            "https://",
            "https://app.example/",
            "*",
            "https://a:99999",
            "https://a b",
            "://a",
        ] {
            assert_eq!(bad.parse::<AllowedOrigins>(), Err(InvalidOrigin(bad.to_owned())), "{bad}");
        }
        assert_eq!("".parse(), Ok(AllowedOrigins::default()));
    }
}
