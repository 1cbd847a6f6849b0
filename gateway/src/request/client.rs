//! Identifies the client behind trusted proxies.

use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderName;
use http::header::AUTHORIZATION;
use proto_contracts::{RequestId, headers};
use service_kit::tokens::{TokenVerifier, bearer_token};

use crate::config::{Exempt, TrustedProxies};
use crate::request::head::RequestHead;
use crate::resilience::rate_limit::User;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static(headers::FORWARDED_FOR);
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static(headers::FORWARDED_PROTO);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// The client, direct or behind trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address in logs and limits.
    pub ip: IpAddr,
    /// Whose address it is.
    pub address_of: AddressOf,
    /// Its scheme.
    pub scheme: Scheme,
    /// The chain for `X-Forwarded-For`.
    pub forwarded_for: ForwardedFor,
}

/// Whose address identifies a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The client's own.
    Client,
    /// A trusted proxy's, because its entry for the client is malformed. The proxy's exemption does
    /// not apply, because a client can cause that.
    Proxy,
}

/// The client's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With TLS, terminated by a proxy in front.
    Https,
}

impl Scheme {
    /// The value of `X-Forwarded-Proto`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The trusted part of the forwarding chain: entries before the first untrusted address are
/// dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The peer is the client.
    Peer,
    /// The client, and the peer, which is a trusted proxy.
    Through(IpAddr),
    /// The chain, farthest first.
    Hops(Vec<IpAddr>),
}

impl Client {
    /// An unknown client.
    pub const fn unknown() -> Self {
        Self::direct(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    const fn direct(ip: IpAddr) -> Self {
        Self {
            ip,
            address_of: AddressOf::Client,
            scheme: Scheme::Http,
            forwarded_for: ForwardedFor::Peer,
        }
    }

    /// Whether limits apply to it.
    pub fn is_limited(&self, exempt: &Exempt) -> bool {
        self.address_of == AddressOf::Proxy || !exempt.contains(self.ip)
    }
}

/// Identifies the client from the peer and, if the peer is trusted, its headers.
///
/// `X-Forwarded-For` is read from the right: trusted proxies are skipped, and the first untrusted
/// address is the client. Entries before it can be forged.
pub fn identify(trusted: &TrustedProxies, peer: Option<IpAddr>, head: &impl RequestHead) -> Client {
    let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return Client::unknown() };
    let direct = Client::direct(peer);
    if !trusted.contains(peer) {
        return direct;
    }
    let mut entries = from_the_right(head, X_FORWARDED_FOR);
    let Some(nearest) = entries.next() else {
        return Client { scheme: scheme(head, 0), ..direct };
    };
    if let Some(ip) = plain_address(nearest).filter(|ip| !trusted.contains(*ip))
        && head.value(X_FORWARDED_FOR) == Some(nearest)
    {
        return Client {
            ip,
            address_of: AddressOf::Client,
            scheme: scheme(head, 0),
            forwarded_for: ForwardedFor::Through(peer),
        };
    }
    let mut hops = vec![peer];
    let mut address_of = AddressOf::Client;
    for entry in iter::once(nearest).chain(entries) {
        let Some(ip) = address(entry) else {
            address_of = AddressOf::Proxy;
            break;
        };
        hops.push(ip);
        if !trusted.contains(ip) {
            break;
        }
    }
    // Entries of `X-Forwarded-Proto` correspond by position.
    let read = hops.len() - 1;
    let last = if address_of == AddressOf::Proxy { read } else { read - 1 };
    let ip = hops[read];
    hops.reverse();
    Client { ip, address_of, scheme: scheme(head, last), forwarded_for: ForwardedFor::Hops(hops) }
}

/// The user of a valid token. The instance decides whether the user is authorized.
pub fn user(tokens: &TokenVerifier<User>, head: &impl RequestHead) -> Option<User> {
    // The instance rejects several.
    let credentials = head.single(AUTHORIZATION)?;
    tokens.verify(bearer_token(credentials)?).ok()
}

/// The request's id if it is a UUID, else a new one.
pub fn request_id(head: &impl RequestHead) -> RequestId {
    let sent = head.value(X_REQUEST_ID).and_then(RequestId::parse_bytes);
    sent.unwrap_or_else(RequestId::generate)
}

/// The entries of a list header in reverse order, over all its lines. Empty entries are ignored
/// (RFC 9110, section 5.6.1).
fn from_the_right(head: &impl RequestHead, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = head.values(name).rev();
    let entries = lines.flat_map(|line| line.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii));
    entries.filter(|entry| !entry.is_empty())
}

/// The scheme at this position from the right, or the first one if the list is shorter.
fn scheme(head: &impl RequestHead, from_right: usize) -> Scheme {
    let entry = from_the_right(head, X_FORWARDED_PROTO).take(from_right + 1).last();
    let https = entry.is_some_and(|entry| {
        unquoted(entry).eq_ignore_ascii_case(Scheme::Https.as_str().as_bytes())
    });
    if https { Scheme::Https } else { Scheme::Http }
}

/// An address in canonical form.
fn plain_address(entry: &[u8]) -> Option<IpAddr> {
    let ip: IpAddr = std::str::from_utf8(entry).ok()?.parse().ok()?;
    (ip == ip.to_canonical()).then_some(ip)
}

/// The address of an entry: plain, with port, zone, brackets or quotes.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(unquoted(entry)).ok()?;
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|digit| digit.is_ascii_digit());
    let host = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
                return None;
            }
            host
        }
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => is_port(port).then_some(host)?,
            _ => text,
        },
    };
    let ip: IpAddr = match host.split_once('%') {
        Some((host, zone)) if !zone.is_empty() => host.parse::<Ipv6Addr>().ok()?.into(),
        _ => host.parse().ok()?,
    };
    Some(ip.to_canonical())
}

fn unquoted(entry: &[u8]) -> &[u8] {
    let inner = entry.strip_prefix(b"\"").and_then(|entry| entry.strip_suffix(b"\""));
    inner.map_or(entry, <[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;

    use super::*;
    use crate::config::Config;

    fn identify_from(peer: &str, sent: &[(&'static str, &[u8])]) -> Client {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let trusted =
            "[server]\ntrusted_proxies = ['10.0.0.0/8', '::ffff:172.16.0.0/108', 'fd00::/8']";
        std::fs::write(&file, trusted).expect("written");
        let config = Config::load(&file, |_| None).expect("fine");
        let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in sent {
            head.append_header(*name, *value).expect("a header");
        }
        let peer = peer.parse().expect("an address");
        identify(&config.traffic.trusted_proxies, Some(peer), &head)
    }

    /// The client of a request that came from a trusted proxy with this chain.
    fn through(chain: &[u8]) -> (String, AddressOf) {
        let client = identify_from("10.1.2.3", &[("x-forwarded-for", chain)]);
        (client.ip.to_string(), client.address_of)
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        let forged: [(&str, &[u8]); 2] =
            [("x-forwarded-for", b"203.0.113.9"), ("x-forwarded-proto", b"https")];
        let client = identify_from("192.0.2.1", &forged);
        assert_eq!(client, Client::direct("192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn every_form_of_an_address_is_read() {
        for (entry, ip) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("\"203.0.113.9:4711\"", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("\"[2001:DB8::9]:4711\"", "2001:db8::9"),
            ("fe80::9%eth0", "fe80::9"),
            ("[fe80::9%25eth0]:1", "fe80::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("203.0.113.9,", "203.0.113.9"),
            ("203.0.113.9 , ,, ", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("\t203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(through(entry.as_bytes()), (ip.to_owned(), AddressOf::Client), "{entry}");
        }
    }

    #[test]
    fn trusted_hops_are_skipped_and_entries_before_the_client_are_ignored() {
        for (chain, ip) in [
            ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
            ("203.0.113.9, 10.0.0.1, 172.16.0.1, [fd00::1]:80", "203.0.113.9"),
            ("203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
            ("10.0.0.9, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
            ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
            // A client within the trusted networks.
            ("10.0.0.9, 10.0.0.1", "10.0.0.9"),
        ] {
            assert_eq!(through(chain.as_bytes()), (ip.to_owned(), AddressOf::Client), "{chain}");
        }
        assert_eq!(through(b"\xff, 203.0.113.9"), ("203.0.113.9".to_owned(), AddressOf::Client));
        assert_eq!(through(b"unknown, 203.0.113.9, 10.0.0.1").0, "203.0.113.9");
    }

    #[test]
    fn an_unreadable_entry_ends_the_search_and_is_never_exempt() {
        let everybody = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
        let exempt = Exempt::of(everybody.into());
        for (chain, ip) in [
            (&b"unknown"[..], "10.1.2.3"),
            (b"203.0.113.9, _hidden", "10.1.2.3"),
            (b"203.0.113.9, \xff", "10.1.2.3"),
            (b"203.0.113.9, 203.0.113.9:x", "10.1.2.3"),
            (b"203.0.113.9, [::1", "10.1.2.3"),
            (b"203.0.113.9, 010.0.0.1", "10.1.2.3"),
            (b"203.0.113.9 203.0.113.9", "10.1.2.3"),
            (b"203.0.113.9, unknown, 10.0.0.1", "10.0.0.1"),
        ] {
            let client = identify_from("10.1.2.3", &[("x-forwarded-for", chain)]);
            let chain = String::from_utf8_lossy(chain);
            assert_eq!(
                (client.ip.to_string().as_str(), client.address_of),
                (ip, AddressOf::Proxy),
                "{chain}"
            );
            assert!(client.is_limited(&exempt), "{chain}");
        }
        for chain in [&b""[..], b" , "] {
            assert_eq!(through(chain), ("10.1.2.3".to_owned(), AddressOf::Client), "no entry");
        }
        assert!(!identify_from("10.1.2.3", &[]).is_limited(&exempt));
    }

    #[test]
    fn the_last_line_is_that_of_the_nearest_proxy() {
        let lines: [(&str, &[u8]); 2] =
            [("x-forwarded-for", b"1.1.1.1"), ("x-forwarded-for", b"203.0.113.9")];
        let client = identify_from("10.1.2.3", &lines);
        assert_eq!(client.ip.to_string(), "203.0.113.9");
        let hops = ["203.0.113.9", "10.1.2.3"].map(|ip| ip.parse().expect("an address"));
        assert_eq!(client.forwarded_for, ForwardedFor::Hops(hops.into()));
    }

    #[test]
    fn the_scheme_is_that_of_the_clients_connection() {
        for (chain, proto, scheme) in [
            ("203.0.113.9", "https", Scheme::Https),
            ("203.0.113.9", "HTTPS", Scheme::Https),
            ("203.0.113.9", "\"https\"", Scheme::Https),
            ("203.0.113.9", "http", Scheme::Http),
            ("203.0.113.9", "httpss", Scheme::Http),
            ("203.0.113.9", "", Scheme::Http),
            // The client wrote the first of these.
            ("1.1.1.1, 203.0.113.9", "https, http", Scheme::Http),
            ("1.1.1.1, 203.0.113.9", "http, https", Scheme::Https),
            // Two trusted proxies, of which the farther one terminated TLS.
            ("203.0.113.9, 10.0.0.1", "https, http", Scheme::Https),
            ("1.1.1.1, 203.0.113.9, 10.0.0.1", "https, http, http", Scheme::Http),
            ("203.0.113.9, 10.0.0.1", "https", Scheme::Https),
            ("unknown, 10.0.0.1", "https, http", Scheme::Https),
        ] {
            let sent =
                [("x-forwarded-for", chain.as_bytes()), ("x-forwarded-proto", proto.as_bytes())];
            assert_eq!(identify_from("10.1.2.3", &sent).scheme, scheme, "{chain} {proto}");
        }
        assert_eq!(
            identify_from("10.1.2.3", &[("x-forwarded-proto", b"Https")]).scheme,
            Scheme::Https
        );
    }
}
