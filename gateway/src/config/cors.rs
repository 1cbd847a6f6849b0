//! `[cors]`: which pages of other origins may use the API.

use http::HeaderValue;
use proto_contracts::Authority;
use serde::Deserialize;

use crate::config::check::Check;

/// Longer than browsers remember a preflight.
const MAX_AGE_LIMIT_S: u32 = 86_400;

/// Cross-origin resource sharing (Fetch standard, "CORS protocol").
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    /// Whether pages may send cookies.
    pub allow_credentials: bool,
    /// The value of `Access-Control-Max-Age`: seconds for which a browser remembers a preflight.
    pub max_age: HeaderValue,
}

impl Cors {
    /// The listed origin that equals this value of `Origin`, byte by byte: browsers send origins
    /// in one form.
    pub fn allowed(&self, origin: &[u8]) -> Option<&HeaderValue> {
        self.origins.iter().find(|allowed| allowed.as_bytes() == origin)
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    allowed_origins: Vec<String>,
    allow_credentials: bool,
    max_age_s: u32,
}

impl Default for Section {
    fn default() -> Self {
        Self { allowed_origins: Vec::new(), allow_credentials: false, max_age_s: 600 }
    }
}

impl Section {
    /// The policy; `None`: off.
    pub(super) fn check(self, check: &mut Check<'_>) -> Option<Cors> {
        check.require(
            self.max_age_s <= MAX_AGE_LIMIT_S,
            "[cors] max_age_s",
            format_args!("must be at most {MAX_AGE_LIMIT_S}, a day"),
        );
        let origins = self.allowed_origins.iter().filter_map(|origin| {
            let fault = fault_of(origin);
            let rule = fault.unwrap_or_default();
            check.require(
                fault.is_none(),
                "[cors] allowed_origins",
                format_args!("has {origin:?}; {rule}"),
            );
            HeaderValue::from_str(origin).ok()
        });
        let origins: Vec<_> = origins.collect();
        (!origins.is_empty()).then(|| Cors {
            origins,
            allow_credentials: self.allow_credentials,
            max_age: self.max_age_s.into(),
        })
    }
}

/// What is wrong with the origin, and the cure. An origin in another form than browsers send would
/// silently match none.
fn fault_of(origin: &str) -> Option<&'static str> {
    if origin == "*" {
        return Some("list each origin: any page could use the API from a visitor's network");
    }
    if origin == "null" {
        return Some("sandboxed pages of anyone send it, so it cannot be allowed");
    }
    let example =
        Some("write an origin such as \"https://app.example\" or \"http://127.0.0.1:3000\"");
    let (default_port, rest) = match origin.split_once("://") {
        Some(("https", rest)) => (443, rest),
        Some(("http", rest)) => (80, rest),
        _ => return example,
    };
    if rest.contains(['/', '?', '#']) {
        return Some("an origin has no path, and no slash at its end");
    }
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("write it in lower case, as browsers send it");
    }
    let Some(authority) = Authority::parse(rest.as_bytes()) else { return example };
    let port =
        rest.strip_prefix('[').map_or(rest, |v6| v6.split_once(']').map_or("", |(_, it)| it));
    let port = port.split_once(':').map(|(_, digits)| digits);
    match (port, authority.port()) {
        (Some(digits), Some(port)) if port.to_string() != digits => example,
        (Some(_), Some(port)) if port == default_port => {
            Some("omit the scheme's default port, as browsers do")
        }
        (Some(_), None) => example,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_the_form_that_browsers_send() {
        for origin in [
            "https://app.example",
            "https://app.example:8443",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://[2001:db8::1]",
            "https://xn--bcher-kva.example",
            "http://localhost:443",
        ] {
            assert_eq!(fault_of(origin), None, "{origin}");
        }
        for origin in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https:app.example",
            "//app.example",
            "https://*.example",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:",
            "https://app.example:08443",
            "https://app.example:99999",
            "https://[::1",
            "https://u@a",
            "https://b\u{fc}cher.example",
            "https://a b",
            "https://a, https://b",
            "file:///x",
        ] {
            assert!(fault_of(origin).is_some(), "{origin}");
        }
    }
}
