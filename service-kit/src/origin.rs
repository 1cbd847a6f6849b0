//! The origin of a page that sends a request, as browsers name it.

use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use proto_contracts::Authority;
use proto_contracts::headers::FORWARDED_PROTO;

/// `scheme://host` or `scheme://host:port` (RFC 6454, section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    scheme: String,
    /// Host and port as written; a valid [`Authority`].
    authority: String,
}

impl Origin {
    /// Parses an origin; `None` for anything else, such as the `null` of a sandboxed page.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        Authority::parse(authority.as_bytes())?;
        is_scheme
            .then(|| Self { scheme: scheme.to_ascii_lowercase(), authority: authority.to_owned() })
    }

    /// Host and port.
    pub fn authority(&self) -> Option<Authority<'_>> {
        Authority::parse(self.authority.as_bytes())
    }

    /// The scheme's default port; 0 for a scheme without one.
    pub fn default_port(&self) -> u16 {
        match self.scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => 0,
        }
    }

    /// Whether both have the same scheme, host and port.
    pub fn same_as(&self, other: &Self) -> bool {
        let both = self.authority().zip(other.authority());
        self.scheme == other.scheme
            && both.is_some_and(|(own, other)| own.is_same_as(&other, self.default_port()))
    }
}

/// Whether the page that sent these headers has the origin that they were sent to: the same scheme,
/// host and port. A request without `Origin` does not.
pub fn is_own(headers: &HeaderMap) -> bool {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name);
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    let scheme = only(HeaderName::from_static(FORWARDED_PROTO)).unwrap_or("http");
    let own = only(HOST).and_then(|host| Origin::parse(&format!("{scheme}://{host}")));
    let page = only(ORIGIN).and_then(Origin::parse);
    own.zip(page).is_some_and(|(own, page)| own.same_as(&page))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn is_own_of(origin: &str, scheme: Option<&'static str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        headers.insert(ORIGIN, value(origin));
        headers.insert(HOST, value(host));
        if let Some(scheme) = scheme {
            let name = HeaderName::from_static(FORWARDED_PROTO);
            headers.insert(name, HeaderValue::from_static(scheme));
        }
        is_own(&headers)
    }

    #[test]
    fn an_own_page_has_the_same_scheme_host_and_port() {
        let https = Some("https");
        for (origin, scheme, host) in [
            ("https://tandem.example", https, "tandem.example"),
            ("https://TANDEM.example:443", https, "tandem.example"),
            ("https://127.0.0.1:8443", https, "127.0.0.1:8443"),
            ("https://[::1]:8443", https, "[::1]:8443"),
            ("http://127.0.0.1:8000", None, "127.0.0.1:8000"),
        ] {
            assert!(is_own_of(origin, scheme, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("https://127.0.0.1:9443", "127.0.0.1:8443"),
            ("https://127.0.0.1", "127.0.0.1:8443"),
            ("http://127.0.0.1:8443", "127.0.0.1:8443"),
            ("https://localhost:8443", "127.0.0.1:8443"),
            ("https://evil.example", "tandem.example"),
            ("https://tandem.example.evil.example", "tandem.example"),
            ("https://tandem.example/", "tandem.example"),
            ("null", "tandem.example"),
            ("", "tandem.example"),
            ("https://tandem.example", ""),
        ] {
            assert!(!is_own_of(origin, https, host), "{origin} at {host}");
        }
    }

    #[test]
    fn a_request_without_an_origin_or_with_two_is_not_of_an_own_page() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("tandem.example"));
        assert!(!is_own(&headers));
        headers.append(ORIGIN, HeaderValue::from_static("http://tandem.example"));
        assert!(is_own(&headers));
        headers.append(ORIGIN, HeaderValue::from_static("http://tandem.example"));
        assert!(!is_own(&headers));
    }
}
