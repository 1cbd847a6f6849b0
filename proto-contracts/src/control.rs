//! Bodies and queries of the gateway's control API, under `/control/v1`.

mod changes;
mod events;
mod explain;
mod pools;

pub use changes::{
    AddInstance, ChangeInstance, DrainInstance, InstanceAdded, Lasts, Reloaded, RemoveQuery,
    SetStrategy, StrategySet,
};
pub use events::{Event, EventTypes, EventsQuery, Routed};
pub use explain::{
    Change, ExplainQuery, Explanation, Flow, InvalidSupposedWeight, Move, Ranked, SupposedWeight,
};
pub use pools::{
    Discovery, Drain, Instance, InstanceState, Pool, Pools, Strategy, UnknownStrategy,
};
