//! Who the client is, as far as the gateway can believe it.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr;
use proto_contracts::{RequestId, headers};
use service_kit::tokens::{TokenVerifier, bearer_token};

use crate::config::TrustedProxies;
use crate::resilience::rate_limit::User;

/// The client, seen through a proxy that the gateway trusts or directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// How it came.
    pub scheme: Scheme,
    /// `X-Forwarded-For` as the instance gets it.
    pub forwarded_for: ForwardedFor,
}

/// How the client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With TLS, which the proxy in front of the gateway ended.
    Https,
}

impl Scheme {
    /// As it stands in `X-Forwarded-Proto`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The addresses by which the request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The peer is the client itself.
    Peer,
    /// What a trusted proxy told, to which its own address is appended.
    Chain(HeaderValue, IpAddr),
}

impl Client {
    /// A client of whom nothing is known.
    pub const fn unknown() -> Self {
        Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), scheme: Scheme::Http, forwarded_for: ForwardedFor::Peer }
    }
}

/// Works out the client from the peer and, where the peer is trusted, from what it tells.
pub(super) fn identify(trusted: &TrustedProxies, peer: Option<&SocketAddr>, request: &RequestHeader) -> Client {
    let Some(peer) = peer.and_then(SocketAddr::as_inet).map(|addr| addr.ip().to_canonical()) else {
        return Client::unknown();
    };
    let direct = Client { ip: peer, scheme: Scheme::Http, forwarded_for: ForwardedFor::Peer };
    if !trusted.contains(peer) {
        return direct;
    }
    let https = request.headers.get(headers::FORWARDED_PROTO).is_some_and(|proto| proto == Scheme::Https.as_str());
    let scheme = if https { Scheme::Https } else { Scheme::Http };
    match all_lines(request, headers::FORWARDED_FOR) {
        None => Client { scheme, ..direct },
        Some(chain) => Client {
            // The last entry is the one that the trusted peer itself appended; those before it anybody can write.
            ip: last_address(&chain).unwrap_or(peer),
            scheme,
            forwarded_for: ForwardedFor::Chain(chain, peer),
        },
    }
}

/// The user whose token the request carries, if it is good. Whether it opens anything is for the instance to say.
pub(super) fn user(tokens: &TokenVerifier<User>, request: &RequestHeader) -> Option<User> {
    let mut given = request.headers.get_all(AUTHORIZATION).iter();
    let credentials = given.next()?;
    // Of two, the instance takes neither.
    if given.next().is_some() {
        return None;
    }
    tokens.verify(bearer_token(credentials.as_bytes())?).ok()
}

/// The id that the request carries when that is a UUID, else a fresh one.
pub(super) fn request_id(request: &RequestHeader) -> RequestId {
    request
        .headers
        .get(headers::REQUEST_ID)
        .and_then(|id| RequestId::parse_bytes(id.as_bytes()))
        .unwrap_or_else(RequestId::generate)
}

/// The lines of a header as one. Some proxies add a line of their own instead of an entry, so the first may be forged.
fn all_lines(request: &RequestHeader, name: &str) -> Option<HeaderValue> {
    let lines = request.headers.get_all(name);
    let mut iter = lines.iter();
    let first = iter.next()?;
    if iter.next().is_none() {
        return Some(first.clone());
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
    HeaderValue::from_bytes(&joined).ok()
}

fn last_address(chain: &HeaderValue) -> Option<IpAddr> {
    let last = chain.to_str().ok()?.rsplit(',').next()?;
    last.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn identify_from(peer: &str, sent: &[(&'static str, &str)]) -> Client {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, "[server]\ntrusted_proxies = ['10.0.0.0/8']").expect("written");
        let config = Config::load(&file, |_| None).expect("fine");
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in sent {
            request.append_header(*name, *value).expect("a header");
        }
        let peer = SocketAddr::Inet(std::net::SocketAddr::new(peer.parse().expect("an address"), 1));
        identify(&config.traffic.trusted_proxies, Some(&peer), &request)
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        let client = identify_from("192.0.2.1", &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")]);
        assert_eq!(client.ip.to_string(), "192.0.2.1");
        assert_eq!((client.scheme, client.forwarded_for), (Scheme::Http, ForwardedFor::Peer));
    }

    #[test]
    fn a_trusted_proxy_is_believed_what_it_saw_itself() {
        let client =
            identify_from("10.1.2.3", &[("x-forwarded-for", "1.1.1.1, 203.0.113.9"), ("x-forwarded-proto", "https")]);
        assert_eq!(client.ip.to_string(), "203.0.113.9");
        assert_eq!(client.scheme, Scheme::Https);
    }

    #[test]
    fn of_several_lines_the_last_is_the_trusted_proxys() {
        let client = identify_from("10.1.2.3", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")]);
        assert_eq!(client.ip.to_string(), "203.0.113.9");
        let chain = HeaderValue::from_static("1.1.1.1, 203.0.113.9");
        assert_eq!(client.forwarded_for, ForwardedFor::Chain(chain, "10.1.2.3".parse().expect("an address")));
    }

    #[test]
    fn rubbish_from_a_trusted_proxy_leaves_the_peer() {
        let client = identify_from("10.1.2.3", &[("x-forwarded-for", "unknown")]);
        assert_eq!(client.ip.to_string(), "10.1.2.3");
    }
}
