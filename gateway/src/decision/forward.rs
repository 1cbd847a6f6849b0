//! Rewrites headers between clients and instances.

use std::mem;
use std::net::IpAddr;

use http::header::{CACHE_CONTROL, COOKIE, HOST, SET_COOKIE};
use http::{HeaderName, HeaderValue, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::control::Strategy;
use proto_contracts::{AffinityKey, Endpoint, Verdict, headers};

use crate::config::RoutingHeaders;
use crate::proxy::affinity::{has_affinity, without_affinity};
use crate::request::client::{ForwardedFor, Scheme};
use crate::request::{RequestContext, trace};
use crate::routing::{ClientKey, KeyOrigin};

const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static(headers::RATE_LIMIT_POLICY);
const X_AFFINITY: HeaderName = HeaderName::from_static(headers::AFFINITY);
const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(headers::AFFINITY_KEY);
const X_CLIENT_RATE: HeaderName = HeaderName::from_static(headers::CLIENT_RATE);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static(headers::FORWARDED_FOR);
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static(headers::FORWARDED_HOST);
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static(headers::FORWARDED_PROTO);
const X_INSTANCE_ID: HeaderName = HeaderName::from_static(headers::INSTANCE_ID);
const X_LIVE_SESSIONS: HeaderName = HeaderName::from_static(headers::LIVE_SESSIONS);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);
const X_SERVED_BY: HeaderName = HeaderName::from_static(headers::SERVED_BY);
const X_SESSION_AFFINITY: HeaderName = HeaderName::from_static(headers::SESSION_AFFINITY);

/// Whether a header is internal, and dropped from client requests.
fn is_internal(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | headers::AFFINITY
                | headers::AFFINITY_KEY
                | headers::CLIENT_RATE
                | headers::SESSION_AFFINITY
                | headers::SERVED_BY
                | headers::INSTANCE_ID
                | headers::LIVE_SESSIONS
                | headers::DRAINING
                | headers::DRAIN_DECISION
                | headers::WEIGHT
                | headers::REAL_IP
                | headers::ROUTING_STRATEGY
        )
}

/// Drops Pingora's map of header name spellings, which would be copied with every request and cost
/// an allocation per added header.
pub(super) fn forget_request_spelling(request: &mut RequestHeader) {
    // Only a target in origin form survives the conversion.
    if request.has_case() && request.raw_path().starts_with(b"/") && request.raw_path_is_utf8() {
        let parts: http::request::Parts =
            mem::replace(request, http::Request::new(()).into_parts().0.into()).into();
        *request = parts.into();
    }
}

/// The same for a response.
fn forget_response_spelling(response: &mut ResponseHeader) {
    if response.has_case() {
        let parts: http::response::Parts =
            mem::replace(response, http::Response::new(()).into_parts().0.into()).into();
        *response = parts.into();
    }
}

/// Rewrites the request header for the instance.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(super) fn to_instance(request: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
    // Most requests have none, and an empty list does not allocate.
    let internal: Vec<_> =
        request.headers.keys().filter(|name| is_internal(name)).cloned().collect();
    for name in internal {
        request.remove_header(&name);
    }
    request.insert_header(X_REQUEST_ID, &ctx.request_id.to_ascii()[..])?;
    request.insert_header(X_FORWARDED_FOR, forwarded_for(ctx))?;
    request.insert_header(X_FORWARDED_PROTO, ctx.client.scheme.as_str())?;
    match request.headers.get(HOST).cloned() {
        Some(host) => request.insert_header(X_FORWARDED_HOST, host)?,
        // Optional in HTTP/1.0, required in HTTP/2.
        None if request.version == Version::HTTP_2 => request.insert_header(HOST, "gateway")?,
        None => {}
    }
    let affinity = match ctx.attempt.as_ref().map(|attempt| (attempt.strategy, attempt.verdict)) {
        // A spilled request is an exception, so the instance must not take the session over from
        // its home.
        Some((Strategy::Sticky, verdict)) if verdict != Verdict::Spilled => {
            headers::SESSION_AFFINITY_REQUIRED
        }
        _ => headers::SESSION_AFFINITY_NONE,
    };
    request.insert_header(X_SESSION_AFFINITY, affinity)?;
    if let Some(client) = ctx.key {
        request.insert_header(X_AFFINITY_KEY, &client.key.to_ascii()[..])?;
    }
    // The instance applies the rate to WebSocket messages, which the gateway does not see.
    if let Some((_, policy)) = &ctx.quota
        && ctx.resolved.is_some_and(|resolved| resolved.endpoint == Endpoint::Live)
    {
        request.insert_header(X_CLIENT_RATE, client_rate(ctx.client.ip, policy))?;
    }
    trace::pass_on(request, ctx.trace.as_deref())?;
    drop_affinity_cookie(request)
}

/// Rewrites the response header for the client.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(super) fn to_client(response: &mut ResponseHeader, ctx: &RequestContext) -> Result<()> {
    let routing = ctx.traffic.routing_headers;
    forget_response_spelling(response);
    response.remove_header(&X_INSTANCE_ID);
    response.remove_header(&X_LIVE_SESSIONS);
    response.insert_header(X_REQUEST_ID, &ctx.request_id.to_ascii()[..])?;
    if routing == RoutingHeaders::Hidden {
        response.remove_header(&X_SERVED_BY);
        response.remove_header(&X_AFFINITY);
    }
    if let (RoutingHeaders::Exposed, Some(attempt), Some(stamp)) =
        (routing, &ctx.attempt, ctx.stamp())
    {
        response.insert_header(X_SERVED_BY, attempt.in_flight.instance().name_header())?;
        response.insert_header(X_AFFINITY, stamp.to_ascii())?;
    }
    if let Some((quota, policy)) = &ctx.quota {
        response.insert_header(RATE_LIMIT_POLICY, policy.clone())?;
        response.insert_header(
            RATE_LIMIT,
            format!(r#""client";r={};t={}"#, quota.remaining, quota.reset_s),
        )?;
    }
    if let Some(client) = ctx.key.filter(|client| client.origin != KeyOrigin::Client) {
        let secure = if ctx.client.scheme == Scheme::Https { "; Secure" } else { "" };
        let cookie = format!(
            "{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Lax{secure}",
            cookie_key(response, client)
        );
        response.append_header(SET_COOKIE, cookie)?;
        // A shared cache must not store the key of one client.
        if !response.headers.get_all(CACHE_CONTROL).iter().any(keeps_shared_caches_off) {
            response.insert_header(CACHE_CONTROL, "no-store")?;
        }
    }
    Ok(())
}

/// The key for a client that sent none: that of the response's session, which may differ for a
/// repeated create or a session id in the body.
fn cookie_key(response: &ResponseHeader, client: ClientKey) -> AffinityKey {
    let session_key = response.headers.get(X_AFFINITY_KEY);
    session_key.and_then(|value| AffinityKey::parse_bytes(value.as_bytes())).unwrap_or(client.key)
}

fn keeps_shared_caches_off(cache_control: &HeaderValue) -> bool {
    let forbids = |directive: &str| {
        let directive = directive.trim();
        directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("private")
    };
    cache_control.to_str().is_ok_and(|directives| directives.split(',').any(forbids))
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

fn forwarded_for(ctx: &RequestContext) -> HeaderValue {
    let text = match &ctx.client.forwarded_for {
        ForwardedFor::Peer => ctx.client.ip.to_string(),
        ForwardedFor::AsSent(client, peer) => {
            format!("{}, {peer}", client.to_str().unwrap_or("unknown"))
        }
        ForwardedFor::Hops(hops) => {
            hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn drop_affinity_cookie(request: &mut RequestHeader) -> Result<()> {
    if !request.headers.get_all(COOKIE).iter().any(|value| has_affinity(value.as_bytes())) {
        return Ok(());
    }
    let kept: Vec<_> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| without_affinity(value.as_bytes()))
        .collect();
    request.remove_header(&COOKIE);
    kept.into_iter().try_for_each(|value| request.append_header(COOKIE, value).map(|_| ()))
}
