//! The requests of the comparison.

use std::net::Ipv4Addr;

use http::header::{ACCEPT, COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::Full;
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::{AffinityKey, Endpoint};

use crate::bench::workload::{LARGE_RESPONSE, UPLOAD, Workload};
use crate::client::ScenarioRequest;
use crate::origin::{BYTES, pattern};
use crate::request;

/// Clients, each with its own key.
pub(super) const KEYS: usize = 1_000;
/// Clients behind Nginx, each with its own address. So many that none reaches the gateway's default
/// rate limit, 50 requests per second.
const ADDRESSES: usize = 4_000;

/// The request of that number: the pools alternate, and stateful requests cycle through all keys.
pub(super) fn request(workload: Workload, number: usize) -> ScenarioRequest {
    let path = match number % 2 {
        0 => Endpoint::Info.templates().canonical,
        _ => Endpoint::Sessions.templates().canonical,
    };
    let mut request = match workload {
        Workload::Large => request::get(&format!("{path}?{BYTES}{LARGE_RESPONSE}")),
        Workload::Upload => {
            let mut request = request::bare(Method::POST, path);
            *request.body_mut() = Full::new(pattern().slice(..UPLOAD));
            request
        }
        Workload::Small | Workload::BehindNginx | Workload::Tls => request::get(path),
    };
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("loadtest"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Digits are always valid values. Without one, the response would be counted as wrong.
    let mut insert = |name: HeaderName, value: String| {
        HeaderValue::try_from(value)
            .into_iter()
            .for_each(|value| drop(headers.insert(&name, value)));
    };
    if number % 2 == 1 {
        // Any odd multiplier spreads the keys.
        let key = AffinityKey::from_bits(((number / 2 % KEYS) as u32).wrapping_mul(0x9e37_79b9));
        insert(COOKIE, format!("{COOKIE_NAME}={key}"));
    }
    if workload == Workload::BehindNginx {
        let client = 1 + number % ADDRESSES;
        // As by a load balancer in front of that Nginx.
        insert(HeaderName::from_static("x-forwarded-for"), address(client as u32).to_string());
        let (trace, span) = (client as u128, number as u64 | 1);
        insert(HeaderName::from_static("traceparent"), format!("00-{trace:032x}-{span:016x}-01"));
    }
    request
}

/// The address of a client behind Nginx, from the network for benchmarks (RFC 2544).
fn address(client: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + client)
}

/// Whether trace and address of a request belong to the same client.
pub(super) fn is_of_one_client(trace_id: &str, addr: &str) -> bool {
    let client = u32::from_str_radix(trace_id, 16).unwrap_or(0);
    (1..=ADDRESSES).contains(&(client as usize)) && addr.parse() == Ok(address(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_used() {
        let cookie = |number| request(Workload::Small, number).headers().get(COOKIE).cloned();
        let cookies = (0..2 * KEYS).filter_map(cookie);
        assert_eq!(cookies.collect::<std::collections::HashSet<_>>().len(), KEYS);
    }

    #[test]
    fn a_client_behind_nginx_has_one_address_and_one_trace() {
        let request = request(Workload::BehindNginx, ADDRESSES + 258);
        let text = |name: &str| request.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(text("x-forwarded-for"), "198.18.1.3");
        assert_eq!(text("traceparent"), "00-00000000000000000000000000000103-00000000000010a3-01");
        assert!(is_of_one_client("00000000000000000000000000000103", "198.18.1.3"));
        for (trace, addr) in [("103", "198.18.1.4"), ("", "198.18.0.0"), ("103", ""), ("0", "")] {
            assert!(!is_of_one_client(trace, addr), "{trace} {addr}");
        }
    }
}
