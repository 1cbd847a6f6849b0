//! Access log, metrics, spans and events of requests.

mod access_log;
mod connections;
mod instances;
mod json_line;
mod routed;
mod routing;
mod spans;
mod state_file;

use std::fmt::Display;
use std::sync::Arc;

use http::StatusCode;
use prometheus::{IntCounterVec, Opts};
use proto_contracts::control::Event;
use proto_contracts::{InstanceName, PoolName};
use service_kit::telemetry::Metrics;
use service_kit::telemetry::metrics::method_label;

pub use connections::{ConnectionMetrics, RefusedConnection};
pub use routing::{RoutingMetrics, Shed};
pub use state_file::StateFileMetrics;

use crate::events::Events;
use crate::http_strict::Fault;
use crate::pool::Pools;
use crate::request::{Finished, Outcome, RequestContext};
use crate::telemetry::instances::InstanceMetrics;

/// The logged status when the client closed before the response, as in Nginx.
const CLIENT_CLOSED_REQUEST: &str = "499";

/// Records requests.
#[derive(Debug)]
pub struct Telemetry {
    /// Metrics of every Tandem process.
    pub metrics: Metrics,
    /// Metrics of routing.
    pub routing: RoutingMetrics,
    /// Metrics of client connections.
    pub connections: ConnectionMetrics,
    refused: IntCounterVec,
    lookups: IntCounterVec,
    events: Events,
}

impl Telemetry {
    /// The telemetry of a gateway with this name, pools and event stream.
    ///
    /// # Errors
    /// Never in practice: the names are constant and each is registered once.
    pub fn new(
        name: &InstanceName,
        pools: &Arc<Pools>,
        events: Events,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new("gateway", name)?;
        let routing = RoutingMetrics::new(metrics.registry())?;
        let connections = ConnectionMetrics::new(metrics.registry())?;
        metrics.registry().register(Box::new(InstanceMetrics::new(Arc::clone(pools))?))?;
        let refused = IntCounterVec::new(
            Opts::new(
                "gateway_refused_requests_total",
                "Requests rejected for their header, by fault.",
            ),
            &["fault"],
        )?;
        metrics.registry().register(Box::new(refused.clone()))?;
        let lookups = IntCounterVec::new(
            Opts::new("gateway_discovery_lookups_total", "DNS lookups for a pool, by outcome."),
            &["pool", "outcome"],
        )?;
        // A rate needs a first value, so all series start at 0.
        for pool in PoolName::ALL {
            for outcome in ["found", "failed"] {
                lookups.with_label_values(&[pool.as_str(), outcome]);
            }
        }
        for fault in Fault::ALL {
            refused.with_label_values(&[fault.label()]);
        }
        metrics.registry().register(Box::new(lookups.clone()))?;
        Ok(Self { metrics, routing, connections, refused, lookups, events })
    }

    /// Records a request with a rejected header.
    pub fn request_refused(
        &self,
        ctx: &RequestContext,
        fault: Fault,
        method: &str,
        status: Option<StatusCode>,
        response_bytes: usize,
    ) {
        let outcome = Outcome {
            method: method_label(method),
            route: "refused",
            status: status.as_ref().map_or(CLIENT_CLOSED_REQUEST, StatusCode::as_str),
            duration: ctx.started.elapsed(),
            response_bytes,
        };
        self.metrics.observe(outcome.method, outcome.route, outcome.status, outcome.duration);
        self.refused.with_label_values(&[fault.label()]).inc();
        access_log::write(ctx, &outcome, Some(&fault.label()));
    }

    /// Counts a DNS lookup.
    pub fn count_lookup(&self, pool: PoolName, found: bool) {
        let outcome = if found { "found" } else { "failed" };
        self.lookups.with_label_values(&[pool.as_str(), outcome]).inc();
    }

    /// Records that a pool sheds load above this limit.
    pub fn overload_began(&self, pool: PoolName, limit: u64) {
        tracing::warn!(%pool, limit, "overloaded: shedding requests above the limit");
        self.events.publish(|| Event::OverloadChanged { pool, limit: Some(limit) });
    }

    /// Records that a pool no longer sheds load.
    pub fn overload_ended(&self, pool: PoolName) {
        tracing::info!(%pool, "no longer overloaded");
        self.events.publish(|| Event::OverloadChanged { pool, limit: None });
    }

    /// Records that the limit of client connections is reached.
    pub fn connections_full(&self, most: usize) {
        tracing::warn!(most, "limit of client connections reached: rejecting new ones");
        self.events.publish(|| Event::ConnectionsChanged { limit: Some(most as u64) });
    }

    /// Records that there is room for connections again.
    pub fn connections_free(&self) {
        tracing::info!("accepting new client connections again");
        self.events.publish(|| Event::ConnectionsChanged { limit: None });
    }

    /// Records a finished request.
    pub fn request_done(
        &self,
        ctx: &mut RequestContext,
        finished: &Finished,
        error: Option<&dyn Display>,
    ) {
        let outcome = Outcome {
            method: method_label(finished.method.as_str()),
            route: ctx.resolved.map_or("local", |resolved| resolved.template()),
            status: finished.status.as_ref().map_or(CLIENT_CLOSED_REQUEST, StatusCode::as_str),
            duration: ctx.started.elapsed(),
            response_bytes: finished.response_bytes,
        };
        self.metrics.observe(outcome.method, outcome.route, outcome.status, outcome.duration);
        self.routing.observe(ctx);
        if let Some(resolved) = ctx.resolved {
            let ended = ctx.started + outcome.duration;
            self.events.publish_request(resolved.pool, ended, |sample_weight| {
                routed::event(ctx, &outcome, resolved.pool, sample_weight)
            });
        }
        access_log::write(ctx, &outcome, error);
        spans::end(ctx, &outcome);
    }
}
