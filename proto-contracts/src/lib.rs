//! The wire contract between Tandem's parts and its clients: ids, header and cookie names, routes,
//! error codes and bodies.
//!
//! The services, the gateway, the local stack and the load tests all depend on this crate, so a
//! name that two of them must agree on is defined once.
//!
//! **Invariant:** no I/O and no framework. Everything here can be tested without a socket.

#![warn(missing_docs)]

pub mod accounts;
pub mod affinity;
pub mod agent;
pub mod api;
pub mod audit;
pub mod authority;
pub mod control;
pub mod error;
pub mod files;
pub mod headers;
pub mod health;
pub mod hex;
pub mod idempotency_key;
pub mod ids;
pub mod live;
pub mod openapi;
pub mod path;
pub mod pool_name;
pub mod products;
pub mod routes;
pub mod security_event;
pub mod session_id;
pub mod stateful;
pub mod stateless;
pub mod timestamp;
pub mod trace_context;
pub mod weight;

pub use accounts::Role;
pub use affinity::{AffinityKey, Epoch, RoutingStamp, Verdict};
pub use api::Endpoint;
pub use authority::Authority;
pub use error::{ErrorCode, Problem};
pub use idempotency_key::IdempotencyKey;
pub use ids::{DeploymentName, InstanceName, MessageId, RequestId};
pub use pool_name::PoolName;
pub use routes::Resolved;
pub use session_id::{SessionDigest, SessionId};
pub use timestamp::Timestamp;
pub use trace_context::TraceContext;
pub use weight::{InvalidWeight, Weight, WeightDecision};
