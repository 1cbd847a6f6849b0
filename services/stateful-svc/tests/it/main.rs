//! The service and its stores against real parts: a real Redis, real sockets, the real program.

mod app;
mod behaviour;
mod conditions;
mod cut_answers;
mod guarded_writes;
mod hostile;
mod http_api;
mod hybrid_faults;
mod hybrid_store;
mod idempotency;
mod keyed_writes;
mod lease_model;
mod live_client;
mod live_events;
mod live_socket;
mod memory_store;
mod model;
mod owners;
mod ownership;
mod paths;
mod program;
mod redis_server;
mod redis_store;
mod shutdown;
mod subject;
mod tombstones;
