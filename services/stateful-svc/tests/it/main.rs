//! The service and its stores against real parts: a real Redis, real sockets, the real program.

mod behaviour;
mod redis_server;
mod subject;
