//! Admission: identifies the client, the route and the key, and applies limits.

use std::net::IpAddr;

use http::HeaderName;
use proto_contracts::{Endpoint, ErrorCode, PoolName, headers, routes};

use crate::decision::local_reply::{self, LocalReply};
use crate::decision::{Decisions, affinity, cors, lab};
use crate::pool::Snapshot;
use crate::request::client::ForwardedFor;
use crate::request::{RequestContext, RequestHead, RequestTrace, client};
use crate::resilience::rate_limit;
use crate::telemetry::Shed;

const X_SHARED_ADDRESS: HeaderName = HeaderName::from_static(headers::SHARED_ADDRESS);

impl Decisions {
    /// Admits a request from this peer, or says what the gateway replies instead.
    ///
    /// # Errors
    /// The local reply.
    pub fn admit(
        &self,
        head: &impl RequestHead,
        peer: Option<IpAddr>,
        ctx: &mut RequestContext,
    ) -> Result<(), LocalReply> {
        ctx.client = client::identify(&ctx.traffic.trusted_proxies, peer, head);
        ctx.request_id = client::request_id(head);
        ctx.resolved = routes::resolve(head.path());
        if let Some(cors) = &ctx.traffic.cors {
            ctx.cors_origin = cors::origin(cors, head);
            // For any path, so that the page can read the 404.
            if ctx.cors_origin.is_some() && cors::is_preflight(head) {
                return Err(LocalReply::Preflight);
            }
        }
        let Some(resolved) = ctx.resolved else {
            return Err(local_reply::without_route(head));
        };
        ctx.trace = RequestTrace::begin(head, &resolved, ctx.started);
        if head
            .content_length()
            .is_some_and(|length| length > ctx.traffic.limits.body.of(Some(&resolved)))
        {
            return Err(LocalReply::Problem(ErrorCode::BodyTooLarge));
        }
        ctx.requested_strategy =
            lab::requested_strategy(ctx.traffic.lab, head).map_err(LocalReply::Problem)?;
        let pool = self.pools.get(resolved.pool);
        let snapshot = pool.snapshot();
        if !is_internal_event(ctx, resolved.endpoint, peer)
            && let Some(code) = self.exceeded_limit(head, peer, ctx, resolved.pool, &snapshot)
        {
            return Err(LocalReply::Problem(code));
        }
        if pool.tracks_keys(ctx.requested_strategy.unwrap_or(snapshot.strategy)) {
            ctx.key = Some(affinity::client_key(head, &resolved, &snapshot));
        }
        Ok(())
    }

    /// The error code if the request exceeds a limit of its client or pool.
    fn exceeded_limit(
        &self,
        head: &impl RequestHead,
        peer: Option<IpAddr>,
        ctx: &mut RequestContext,
        pool: PoolName,
        snapshot: &Snapshot,
    ) -> Option<ErrorCode> {
        let traffic = &ctx.traffic;
        if ctx.client.is_limited(&traffic.exempt) {
            let user = self.tokens.as_ref().and_then(|tokens| client::user(tokens, head));
            // An invalid token has no rate of its own.
            let client =
                user.map_or_else(|| without_token(head, ctx, peer), rate_limit::Client::User);
            ctx.limited = Some(client);
            if let Some(policy) = &traffic.rate_limit {
                let quota = self.clients.take(client, ctx.started, policy);
                ctx.quota = Some((quota, policy.header.clone()));
                if quota.retry_after_s.is_some() {
                    self.telemetry.routing.count_shed(pool, Shed::ClientRate);
                    return Some(ErrorCode::RateLimited);
                }
            }
            let streams = ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream());
            let (table, most, code) = match streams {
                true => (&self.streams, traffic.clients.streams, ErrorCode::TooManyClientStreams),
                false => (&self.requests, traffic.clients.requests, ErrorCode::TooManyInFlight),
            };
            ctx.holding = table.take(client, most);
            if ctx.holding.is_none() {
                self.telemetry.routing.count_shed(pool, Shed::ClientHoldings);
                return Some(code);
            }
        }
        traffic.overload.shedding?;
        let limit = self.guards.of(pool).limit.limit()?;
        // While a pool is overloaded, one client may have at most a quarter of it.
        let share = ctx.holding.as_ref().map_or(0, |holding| u64::from(holding.held()) * 4);
        if snapshot.in_flight().max(share) < limit {
            return None;
        }
        self.telemetry.routing.count_shed(pool, Shed::PoolLimit);
        Some(ErrorCode::Overloaded)
    }
}

/// Whether our own issuer may be the sender: a revocation must reach the sessions whatever the
/// load. Requests of clients come through a proxy, which names them in `X-Forwarded-For`.
fn is_internal_event(ctx: &RequestContext, endpoint: Endpoint, peer: Option<IpAddr>) -> bool {
    endpoint == Endpoint::SecurityEvents
        && ctx.client.forwarded_for == ForwardedFor::Peer
        && is_trusted(ctx, peer)
}

/// A client is its address, unless a trusted proxy says that several share it: then each session
/// in a path is one. A create has no session yet, so it counts for the address.
fn without_token(
    head: &impl RequestHead,
    ctx: &RequestContext,
    peer: Option<IpAddr>,
) -> rate_limit::Client {
    let ip = ctx.client.ip;
    match ctx.resolved.and_then(|resolved| resolved.key) {
        Some(key) if head.single(X_SHARED_ADDRESS) == Some(b"1") && is_trusted(ctx, peer) => {
            rate_limit::Client::Session(ip, key)
        }
        _ => rate_limit::Client::Address(ip),
    }
}

fn is_trusted(ctx: &RequestContext, peer: Option<IpAddr>) -> bool {
    peer.is_some_and(|peer| ctx.traffic.trusted_proxies.contains(peer.to_canonical()))
}
