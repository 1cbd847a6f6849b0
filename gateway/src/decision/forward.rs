//! The header fields that the gateway sets and removes, between clients and instances.

use std::net::IpAddr;

use http::header::{CACHE_CONTROL, COOKIE, HOST, SET_COOKIE, VIA};
use http::{HeaderName, HeaderValue};
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, Endpoint, Verdict, headers};

use crate::config::RoutingHeaders;
use crate::decision::affinity::{has_affinity, without_affinity};
use crate::decision::{Timing, cors};
use crate::http_strict::FieldKind;
use crate::request::client::{ForwardedFor, Scheme};
use crate::request::trace::{self, SentTrace};
use crate::request::{FieldSink, IpText, RequestContext, RequestHead, ResponseHead};
use crate::routing::{ClientKey, KeyOrigin};

const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static(headers::RATE_LIMIT_POLICY);
const SERVER_TIMING: HeaderName = HeaderName::from_static(headers::SERVER_TIMING);
const X_AFFINITY: HeaderName = HeaderName::from_static(headers::AFFINITY);
const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(headers::AFFINITY_KEY);
const X_CLIENT_RATE: HeaderName = HeaderName::from_static(headers::CLIENT_RATE);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static(headers::FORWARDED_FOR);
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static(headers::FORWARDED_HOST);
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static(headers::FORWARDED_PROTO);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);
const X_SERVED_BY: HeaderName = HeaderName::from_static(headers::SERVED_BY);
const X_SESSION_AFFINITY: HeaderName = HeaderName::from_static(headers::SESSION_AFFINITY);

/// What the gateway calls itself in `Via` (RFC 9110, section 7.6.3).
const RECEIVED_BY: &[u8] = b"1.1 tandem";

/// What the instance gets of the client's own fields that are not internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Its trace context.
    pub trace: SentTrace,
    /// Its cookies; `None`: as they are. Each replaces a line.
    pub cookies: Option<Vec<Vec<u8>>>,
}

/// Sets the fields for the instance. Says what it gets of those that the client sent.
pub fn to_instance(
    head: &impl RequestHead,
    ctx: &RequestContext,
    sink: &mut impl FieldSink,
) -> Forwarded {
    sink.set(&X_REQUEST_ID, &ctx.request_id.to_ascii());
    with_forwarded_for(ctx, |chain| sink.set(&X_FORWARDED_FOR, chain));
    sink.set(&X_FORWARDED_PROTO, ctx.client.scheme.as_str().as_bytes());
    if let Some(host) = head.value(HOST) {
        sink.set(&X_FORWARDED_HOST, host);
    }
    let affinity = match ctx.attempt.as_ref().map(|attempt| (attempt.strategy, attempt.verdict)) {
        // A spilled request is an exception, so the instance must not take the session over from
        // its home.
        Some((Strategy::Sticky, verdict)) if verdict != Verdict::Spilled => {
            headers::SESSION_AFFINITY_REQUIRED
        }
        _ => headers::SESSION_AFFINITY_NONE,
    };
    sink.set(&X_SESSION_AFFINITY, affinity.as_bytes());
    if let Some(client) = ctx.key {
        sink.set(&X_AFFINITY_KEY, &client.key.to_ascii());
    }
    // The instance applies the rate to WebSocket messages, which the gateway does not see.
    if let Some((_, policy)) = &ctx.quota
        && ctx.resolved.is_some_and(|resolved| resolved.endpoint == Endpoint::Live)
    {
        sink.set(&X_CLIENT_RATE, client_rate(ctx.client.ip, policy).as_bytes());
    }
    sink.append(&VIA, RECEIVED_BY);
    let trace = trace::pass_on(head, ctx.trace.as_deref(), sink);
    let cookies = head
        .values(COOKIE)
        .any(has_affinity)
        .then(|| head.values(COOKIE).filter_map(without_affinity).collect());
    Forwarded { trace, cookies }
}

/// Whether a field of an instance's response is not for clients: it is internal, or the gateway
/// sets its own.
pub fn is_hidden(kind: FieldKind, ctx: &RequestContext) -> bool {
    match kind {
        FieldKind::XInstanceId | FieldKind::XLiveSessions | FieldKind::XRequestId => true,
        FieldKind::XServedBy | FieldKind::XAffinity => true,
        FieldKind::RateLimit | FieldKind::RateLimitPolicy => ctx.quota.is_some(),
        FieldKind::AccessControl => ctx.traffic.cors.is_some(),
        _ => false,
    }
}

/// Whether the gateway sets `Cache-Control`: the response sets the key of one client, which a
/// shared cache must not store.
pub fn replaces_cache_control(head: &impl ResponseHead, ctx: &RequestContext) -> bool {
    ctx.key.is_some_and(|client| client.origin != KeyOrigin::Client)
        && !head.values(CACHE_CONTROL).any(keeps_shared_caches_off)
}

/// Sets the fields for the client. `head` is the response of the instance or the gateway; what
/// [`is_hidden`] there is removed already.
pub fn to_client(
    head: &impl ResponseHead,
    ctx: &RequestContext,
    timing: Option<Timing>,
    sink: &mut impl FieldSink,
) {
    sink.set(&X_REQUEST_ID, &ctx.request_id.to_ascii());
    if let (RoutingHeaders::Exposed, Some(attempt), Some(stamp)) =
        (ctx.traffic.routing_headers, &ctx.attempt, ctx.stamp())
    {
        sink.set(&X_SERVED_BY, attempt.in_flight.instance().name().as_str().as_bytes());
        sink.set(&X_AFFINITY, &stamp.to_ascii());
        if let Some(timing) = timing {
            // After the instance's own entries.
            sink.append(&SERVER_TIMING, timing.to_ascii().as_ref());
        }
    }
    if let Some((quota, policy)) = &ctx.quota {
        sink.set(&RATE_LIMIT_POLICY, policy.as_bytes());
        let left = format!(r#""client";r={};t={}"#, quota.remaining, quota.reset_s);
        sink.set(&RATE_LIMIT, left.as_bytes());
    }
    if let Some(cors) = &ctx.traffic.cors {
        cors::to_client(cors, ctx, sink);
    }
    if let Some(client) = ctx.key.filter(|client| client.origin != KeyOrigin::Client) {
        let secure = if ctx.client.scheme == Scheme::Https { "; Secure" } else { "" };
        let key = cookie_key(head, client);
        let cookie = format!("{COOKIE_NAME}={key}; Path=/; HttpOnly; SameSite=Lax{secure}");
        sink.append(&SET_COOKIE, cookie.as_bytes());
        if replaces_cache_control(head, ctx) {
            sink.set(&CACHE_CONTROL, b"no-store");
        }
    }
}

/// The key for a client that sent none: that of the response's session, which may differ for a
/// repeated create or a session id in the body.
fn cookie_key(head: &impl ResponseHead, client: ClientKey) -> AffinityKey {
    head.value(X_AFFINITY_KEY).and_then(AffinityKey::parse_bytes).unwrap_or(client.key)
}

fn keeps_shared_caches_off(cache_control: &[u8]) -> bool {
    let forbids = |directive: &[u8]| {
        let directive = directive.trim_ascii();
        directive.eq_ignore_ascii_case(b"no-store") || directive.eq_ignore_ascii_case(b"private")
    };
    cache_control.split(|&byte| byte == b',').any(forbids)
}

/// The value of `CLIENT_RATE`: the client's address and its policy.
fn client_rate(ip: IpAddr, policy: &HeaderValue) -> String {
    let numbers = policy
        .to_str()
        .ok()
        .and_then(|policy| policy.split_once(';'))
        .map_or("", |(_, numbers)| numbers);
    format!("{ip};{numbers}")
}

/// Calls `take` with the value of `X-Forwarded-For`, without allocating for one or two addresses.
fn with_forwarded_for(ctx: &RequestContext, take: impl FnOnce(&[u8])) {
    let client = IpText::of(ctx.client.ip);
    match &ctx.client.forwarded_for {
        ForwardedFor::Peer => take(client.as_ref()),
        ForwardedFor::Through(peer) => {
            // Two of the longest addresses are shorter.
            let mut line = [0; 96];
            let mut len = 0;
            for part in [client.as_ref(), b", ", IpText::of(*peer).as_ref()] {
                line[len..len + part.len()].copy_from_slice(part);
                len += part.len();
            }
            take(&line[..len]);
        }
        ForwardedFor::Hops(hops) => {
            let hops: Vec<_> = hops.iter().map(ToString::to_string).collect();
            take(hops.join(", ").as_bytes());
        }
    }
}
