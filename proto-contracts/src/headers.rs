//! Header names, in lower case as in HTTP/2.

/// The instance's name, on every response of a service.
pub const INSTANCE_ID: &str = "x-instance-id";
/// The number of live sessions, on a stateful instance's `/health` response.
pub const LIVE_SESSIONS: &str = "x-live-sessions";
/// The number of sessions with a copy in memory, on a stateful instance's `/health` response.
pub const HOT_SESSIONS: &str = "x-hot-sessions";
/// Successful reads of sessions since the instance's start, on its `/health` response.
pub const SESSION_READS: &str = "x-session-reads";
/// Those of [`SESSION_READS`] that were served from memory.
pub const MEMORY_READS: &str = "x-memory-reads";
/// The instance's service: `stateless-svc` or `stateful-svc`. Like the three headers below it is
/// for gateways, and only on `/health` responses.
pub const SERVICE: &str = "x-service";
/// The service's version.
pub const SERVICE_VERSION: &str = "x-service-version";
/// The version of the contract with gateways: [`PROTOCOL`](crate::health::PROTOCOL).
pub const SERVICE_PROTOCOL: &str = "x-service-protocol";
/// The [`DeploymentName`](crate::DeploymentName) of the instance, if it has one.
pub const DEPLOYMENT: &str = "x-deployment";
/// Whole seconds until the instance's keys move away, on `/health` responses while it is draining
/// or stopping. 0 means now.
pub const DRAINING: &str = "x-draining";
/// The operator's last [`DrainDecision`](crate::health::DrainDecision), on `/health` responses and
/// on a gateway's request that sets it.
pub const DRAIN_DECISION: &str = "x-drain-decision";
/// The instance's [`WeightDecision`](crate::WeightDecision), on `/health` responses and on a
/// gateway's request that sets it.
pub const WEIGHT: &str = "x-weight";
/// The instance that served the request, on the gateway's response.
pub const SERVED_BY: &str = "x-served-by";
/// Why it was routed there, on the gateway's response: a [`RoutingStamp`](crate::RoutingStamp).
pub const AFFINITY: &str = "x-affinity";
/// The affinity key: from a client without cookies, to the services, and on the response to a
/// create.
pub const AFFINITY_KEY: &str = "x-affinity-key";
/// `required` (sticky) or `none` (round robin): how the gateway chose the instance. Only the
/// gateway sets it.
pub const SESSION_AFFINITY: &str = "x-session-affinity";
/// The name of a [`Strategy`](crate::control::Strategy), which overrides the pool's for this
/// request. Only a gateway with `[lab]` accepts it.
pub const ROUTING_STRATEGY: &str = "x-routing-strategy";
/// The client's remaining quota: `"client";r=<requests>;t=<seconds until it is full>`
/// (draft-ietf-httpapi-ratelimit-headers).
pub const RATE_LIMIT: &str = "ratelimit";
/// The client's quota: `"client";q=<requests>;w=<window in seconds>`, of the same draft.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// How long a change lasts, on responses without a body: see [`Lasts`](crate::control::Lasts).
pub const CHANGE_LASTS: &str = "x-change-lasts";
/// On a change by the control API: `gateway` keeps it at the gateway that gets it, which passes it on
/// to no other.
pub const CHANGE_SCOPE: &str = "x-change-scope";
/// The [`ChangeOrder`](crate::control::ChangeOrder) of a change that another gateway passes on. On the
/// response, that of a later change of the same thing, because of which nothing was changed.
pub const CHANGE_ORDER: &str = "x-change-order";
/// The rate limit of a WebSocket's client, so that the instance applies it to messages:
/// `<address>;q=<burst>;w=<seconds until the burst is refilled>`. Absent for a client without a
/// limit.
pub const CLIENT_RATE: &str = "x-client-rate";
/// The source of the session in the stateful service: `memory`, `redis` or `created`.
pub const SESSION_SOURCE: &str = "x-session-source";
/// `1` from a trusted proxy: several clients share the address that it names, so each session has
/// limits of its own.
pub const SHARED_ADDRESS: &str = "x-shared-address";
/// The request's id, a UUID.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C trace context: see [`TraceContext`](crate::TraceContext).
pub const TRACEPARENT: &str = "traceparent";
/// Vendor data beside [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";
/// Durations of the parts of the work, shown by browsers (W3C Server Timing).
pub const SERVER_TIMING: &str = "server-timing";
/// `HIT`, `MISS` …: the result in the cache of Nginx or a service.
pub const CACHE_STATUS: &str = "x-cache-status";
/// A key that makes a write safe to retry: see [`IdempotencyKey`](crate::IdempotencyKey).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on the response to a retry: it repeats the first response, and nothing was executed
/// again.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// The number of the last message that a reconnecting client has received (HTML standard).
pub const LAST_EVENT_ID: &str = "last-event-id";
/// The client's address, and those of proxies on the way.
pub const FORWARDED_FOR: &str = "x-forwarded-for";
/// The scheme of the client's request.
pub const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The host of the client's request.
pub const FORWARDED_HOST: &str = "x-forwarded-host";
/// The client's address at the proxy in front of the gateway.
pub const REAL_IP: &str = "x-real-ip";
/// The time since when a resource is deprecated (RFC 9745).
pub const DEPRECATION: &str = "deprecation";

/// Value of [`SESSION_AFFINITY`] for the sticky strategy.
pub const SESSION_AFFINITY_REQUIRED: &str = "required";
/// The value of [`CHANGE_SCOPE`].
pub const CHANGE_SCOPE_GATEWAY: &str = "gateway";
/// Value of [`SESSION_AFFINITY`] for round robin.
pub const SESSION_AFFINITY_NONE: &str = "none";
/// Value of [`DEPRECATION`] on the legacy paths: 5 February 2026, the date of the plan for their
/// successors.
pub const LEGACY_DEPRECATED_SINCE: &str = "@1770249600";
/// Media type of an error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
