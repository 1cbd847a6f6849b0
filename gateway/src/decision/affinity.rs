//! The affinity key of a request: from the path, the header, the cookie, or minted.

use http::HeaderName;
use http::header::COOKIE;
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::{AffinityKey, Resolved, headers};

use crate::pool::Snapshot;
use crate::request::RequestHead;
use crate::routing::{ClientKey, KeyOrigin, minting};

const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(headers::AFFINITY_KEY);

/// The key of a request.
///
/// The session id in the path comes first, so that clients without a cookie jar are sticky; then
/// the header, then the cookie. Malformed keys are skipped. If no key is left, a new one is minted.
pub(super) fn client_key(
    head: &impl RequestHead,
    resolved: &Resolved,
    snapshot: &Snapshot,
) -> ClientKey {
    if let Some(key) = resolved.key {
        return ClientKey { key, origin: KeyOrigin::Client };
    }
    let mut origin = KeyOrigin::Minted;
    for sent in sent_keys(head) {
        match AffinityKey::parse_bytes(sent) {
            Some(key) => return ClientKey { key, origin: KeyOrigin::Client },
            None => origin = KeyOrigin::Replaced,
        }
    }
    ClientKey { key: minting::mint(snapshot), origin }
}

/// The keys that the client sent, valid or not: the header's, then the cookies'.
fn sent_keys(head: &impl RequestHead) -> impl Iterator<Item = &[u8]> {
    let cookies = head.values(COOKIE).flat_map(pairs).filter_map(affinity_value);
    head.values(X_AFFINITY_KEY).chain(cookies)
}

/// Whether a `Cookie` header has the affinity cookie, valid or not.
pub(super) fn has_affinity(cookie: &[u8]) -> bool {
    pairs(cookie).any(|pair| affinity_value(pair).is_some())
}

/// A `Cookie` header without the affinity cookie; `None` if nothing is left.
pub(super) fn without_affinity(cookie: &[u8]) -> Option<Vec<u8>> {
    let others: Vec<_> =
        pairs(cookie).filter(|pair| !pair.is_empty() && affinity_value(pair).is_none()).collect();
    (!others.is_empty()).then(|| others.join(&b"; "[..]))
}

fn pairs(cookie: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookie.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn affinity_value(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;
    use proto_contracts::routes;

    use super::*;
    use crate::pool::snapshot::tests::snapshot;

    fn key_of(path: &str, sent: &[(&'static str, &str)]) -> (KeyOrigin, String) {
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).expect("a request");
        for (name, value) in sent {
            request.append_header(*name, *value).expect("a header");
        }
        let resolved = routes::resolve(path).expect("a path of ours");
        let found = client_key(&request, &resolved, &snapshot(&["a", "b"]));
        (found.origin, found.key.to_string())
    }

    const SESSIONS: &str = "/api/v1/stateful/sessions";
    const SESSION: &str = "/api/v1/stateful/sessions/0000000a-00112233445566778899aabbccddeeff";

    #[test]
    fn the_path_wins_over_the_header_and_the_header_over_the_cookie() {
        let both = [("x-affinity-key", "0000000b"), ("cookie", "affinity=0000000c")];
        assert_eq!(key_of(SESSION, &both), (KeyOrigin::Client, "0000000a".to_owned()));
        assert_eq!(key_of(SESSIONS, &both), (KeyOrigin::Client, "0000000b".to_owned()));
        assert_eq!(key_of(SESSIONS, &both[1..]), (KeyOrigin::Client, "0000000c".to_owned()));
        assert_eq!(key_of(SESSIONS, &[]).0, KeyOrigin::Minted);
    }

    #[test]
    fn an_idempotency_key_decides_nothing() {
        let keyed =
            || key_of(SESSIONS, &[("idempotency-key", "5f0c1a52-8f3e-4c56-9d9f-0a1b2c3d4e5f")]);
        let (first, second) = (keyed(), keyed());
        assert_eq!((first.0, second.0), (KeyOrigin::Minted, KeyOrigin::Minted));
        assert_ne!(first.1, second.1, "a new client is placed by load, not by its idempotency key");
    }

    #[test]
    fn malformed_keys_are_skipped_and_reported() {
        assert_eq!(key_of(SESSIONS, &[("cookie", "affinity=XYZ")]).0, KeyOrigin::Replaced);
        assert_eq!(key_of(SESSIONS, &[("x-affinity-key", "")]).0, KeyOrigin::Replaced);
        let mended = [("x-affinity-key", "nonsense"), ("cookie", "a=b; affinity=0000000c; c=d")];
        assert_eq!(key_of(SESSIONS, &mended), (KeyOrigin::Client, "0000000c".to_owned()));
        let twice = [("cookie", "affinity=bad"), ("cookie", "affinity=0000000d")];
        assert_eq!(key_of(SESSIONS, &twice), (KeyOrigin::Client, "0000000d".to_owned()));
    }

    #[test]
    fn cookies_that_only_resemble_it_are_none() {
        assert_eq!(
            key_of(SESSIONS, &[("cookie", "xaffinity=0000000c; affinityy=1; affinity")]).0,
            KeyOrigin::Minted
        );
    }

    #[test]
    fn instances_get_only_other_cookies() {
        assert_eq!(without_affinity(b"affinity=0000000c"), None);
        assert_eq!(without_affinity(b"affinity=0000000c; affinity=x;"), None);
        assert_eq!(
            without_affinity(b"a=b;affinity=0000000c;c=d").as_deref(),
            Some(&b"a=b; c=d"[..])
        );
        assert_eq!(without_affinity(b"a=b").as_deref(), Some(&b"a=b"[..]));
    }
}
