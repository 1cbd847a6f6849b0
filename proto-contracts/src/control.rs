//! Bodies and queries of the gateway's control API, under `/control/v1`.

mod changes;
mod class;
mod conversation;
mod events;
mod explain;
mod lab;
mod lesson_operations;
mod lessons;
mod order;
mod pools;
mod rates;
mod table;
mod traffic;

pub use changes::{
    AddInstance, ChangeInstance, DrainInstance, InstanceAdded, InstanceChanged, InstanceRemoved,
    Lasts, PutBack, ReloadDone, Reloaded, RemoveQuery, SetStrategy, StrategySet,
};
pub use class::{Class, INSTANCE_CLASS_PATH, InstanceClass, Person, Served};
pub use conversation::{
    Conversation, ConversationAct, Converse, DRIVER_CONVERSATION_PATH, Exchanged, Header, Speaker,
};
pub use events::{Event, EventTypes, EventsQuery, Routed};
pub use explain::{
    AssumedWeight, Change, ExplainQuery, Explanation, Flow, InvalidAssumedWeight, Move, Ranked,
};
pub use lab::{Lab, LabAction, LabInstance, LabScale, MOST_INSTANCES, UnknownLabAction};
pub use lessons::{
    ContinueLesson, DRIVER_LESSON_PATH, DRIVER_LESSONS_PATH, LessonEntry, LessonFinding,
    LessonPhase, LessonPlace, LessonPrediction, LessonResult, LessonRun, LessonUnit, Lessons,
    StartLesson,
};
pub use order::{ChangeOrder, InvalidChangeOrder, MissedGateway};
pub use pools::{
    Discovery, Drain, Instance, InstanceState, Member, Pool, Pools, Strategy, UnknownStrategy,
};
pub use rates::{InstanceRates, Rates, SessionReads};
pub use table::{ControlHandlers, document, is_passed_on};
pub use traffic::{DRIVER_TRAFFIC_PATH, PoolTraffic, Traffic, TrafficFailure, TrafficSettings};
