//! The API of the local stack's agent, under `/agent/v1`.

mod bodies;
mod table;

pub use bodies::{
    Action, ComponentState, ComponentStatus, GatewayUrls, LogLines, LogsQuery, Phase, Scale,
    StackStatus, Urls,
};
pub use table::{AgentHandlers, document, needs_token};
