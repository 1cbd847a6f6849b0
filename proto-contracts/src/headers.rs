//! Names of the headers that Tandem's parts agree on. Lower case, as HTTP/2 writes them.

/// The instance's name, on every answer of a service.
pub const INSTANCE_ID: &str = "x-instance-id";
/// How many live sessions the instance holds, on a stateful instance's answer to `/health`.
pub const LIVE_SESSIONS: &str = "x-live-sessions";
/// Which service the instance is, on its response to `/health`: `stateless-svc` or `stateful-svc`. Like the three
/// headers below it is for gateways, and on no other response.
pub const SERVICE: &str = "x-service";
/// The version of that service.
pub const SERVICE_VERSION: &str = "x-service-version";
/// What is agreed between gateways and instances: [`PROTOCOL`](crate::health::PROTOCOL).
pub const SERVICE_PROTOCOL: &str = "x-service-protocol";
/// The [`DeploymentName`](crate::DeploymentName) that the instance belongs to, where it has one.
pub const DEPLOYMENT: &str = "x-deployment";
/// In how many whole seconds the instance's keys move away, on the answer to `/health` of one that is drained or stops: with
/// 0 they do so now. Absent when it serves as usual.
pub const DRAINING: &str = "x-draining";
/// An operator's last decision to drain the instance or to end its drain: see
/// [`DrainDecision`](crate::health::DrainDecision). On its response to `/health`, and on a gateway's request that
/// carries the decision to it.
pub const DRAIN_DECISION: &str = "x-drain-decision";
/// The instance's [`WeightDecision`](crate::WeightDecision), on its response to `/health`, and on a gateway's request that
/// changes its weight.
pub const WEIGHT: &str = "x-weight";
/// Which instance served the request, on the gateway's answer to the client.
pub const SERVED_BY: &str = "x-served-by";
/// Why it went there, on the gateway's answer: see [`RoutingStamp`](crate::RoutingStamp).
pub const AFFINITY: &str = "x-affinity";
/// The affinity key: from a client without a cookie jar, to the services, and on the answer to a create.
pub const AFFINITY_KEY: &str = "x-affinity-key";
/// `required` or `none`: by which code path the gateway chose the instance. Set by the gateway alone.
pub const SESSION_AFFINITY: &str = "x-session-affinity";
/// `sticky` or `round_robin`: the code path that a client wants for this one request. Only the lab's gateway heeds it.
pub const ROUTING_STRATEGY: &str = "x-routing-strategy";
/// What is left to the client: `"client";r=<requests>;t=<seconds until all is>` (draft-ietf-httpapi-ratelimit-headers).
pub const RATE_LIMIT: &str = "ratelimit";
/// How often a client may come: `"client";q=<requests>;w=<in so many seconds>`, of the same draft.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// For how long a change lasts that has no body in its response: see [`Lasts`](crate::control::Lasts).
pub const CHANGE_LASTS: &str = "x-change-lasts";
/// By what rate a gateway limits the client whose WebSocket it forwards, so that the instance counts its messages by the same:
/// `<address>;q=<messages at once>;w=<seconds in which as many may come again>`. Absent for a client that is not limited.
pub const CLIENT_RATE: &str = "x-client-rate";
/// `memory`, `redis` or `created`: where the stateful service took the session from.
pub const SESSION_SOURCE: &str = "x-session-source";
/// The request's id, a UUID.
pub const REQUEST_ID: &str = "x-request-id";
/// The request's place in a trace: see [`TraceContext`](crate::TraceContext).
pub const TRACEPARENT: &str = "traceparent";
/// What tracing systems add to [`TRACEPARENT`], each for itself.
pub const TRACESTATE: &str = "tracestate";
/// How long each part of the work took, for whoever looks at an answer in a browser (W3C Server Timing).
pub const SERVER_TIMING: &str = "server-timing";
/// `HIT`, `MISS` …: what Nginx's cache or a service's own did.
pub const CACHE_STATUS: &str = "x-cache-status";
/// A UUID that makes a write safe to repeat: see [`IdempotencyKey`](crate::IdempotencyKey).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on the answer to a repetition: it is the answer that the first request got, and nothing was done again.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// The number of the last message that a client heard of, when it opens a stream of events again (the HTML standard).
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Whom the client's address, scheme and host are told by, between proxies.
pub const FORWARDED_FOR: &str = "x-forwarded-for";
/// The scheme by which the client came, between proxies.
pub const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The host that the client asked for, between proxies.
pub const FORWARDED_HOST: &str = "x-forwarded-host";
/// The client's address as the proxy before the gateway saw it.
pub const REAL_IP: &str = "x-real-ip";
/// RFC 9745: since when a resource is deprecated.
pub const DEPRECATION: &str = "deprecation";

/// Value of [`SESSION_AFFINITY`] when the sticky path chose the instance.
pub const SESSION_AFFINITY_REQUIRED: &str = "required";
/// Value of [`SESSION_AFFINITY`] when the round-robin path chose the instance.
pub const SESSION_AFFINITY_NONE: &str = "none";
/// Value of [`DEPRECATION`] on the Phase 1 paths: 5 February 2026, the day the plan for their successors was written.
pub const PHASE1_DEPRECATED_SINCE: &str = "@1770249600";
/// Media type of an error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
