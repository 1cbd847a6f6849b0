//! Admission: rate, concurrency and load limits.

use pingora::http::RequestHeader;
use proto_contracts::{ErrorCode, PoolName};

use crate::pool::Snapshot;
use crate::proxy::DataPlane;
use crate::request::{RequestContext, client};
use crate::resilience::rate_limit;
use crate::telemetry::Shed;

impl DataPlane {
    /// The error code if the request exceeds a limit of its client or pool.
    pub(super) fn admission_check(
        &self,
        request: &RequestHeader,
        ctx: &mut RequestContext,
        pool: PoolName,
        snapshot: &Snapshot,
    ) -> Option<ErrorCode> {
        let traffic = &ctx.traffic;
        if ctx.client.is_limited(&traffic.exempt) {
            let user = self.tokens.as_ref().and_then(|tokens| client::user(tokens, request));
            // An invalid token has no rate of its own.
            let client =
                user.map_or(rate_limit::Client::Address(ctx.client.ip), rate_limit::Client::User);
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
