//! The Lua scripts: one for each act, each atomic.

use redis::{FromRedisValue, ParsingError, Script, Value};

/// Every script of the store, hashed once.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) read: Script,
    pub(super) append: Script,
    pub(super) patch: Script,
    pub(super) delete: Script,
    pub(super) history: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("session.lua"), include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: script!("create.lua"),
            read: script!("read.lua"),
            append: script!("append.lua"),
            patch: script!("patch.lua"),
            delete: script!("delete.lua"),
            history: script!("history.lua"),
        }
    }
}

/// What a script returned.
#[derive(Debug, PartialEq)]
pub(super) enum Reply<T> {
    /// Nil: there is no such session (or, for a create, there is one already).
    Nil,
    /// 0: the session is there, and the act was refused.
    Refused,
    /// The act was done.
    Done(T),
}

impl<T: FromRedisValue> FromRedisValue for Reply<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match value {
            Value::Nil => Ok(Self::Nil),
            Value::Int(0) => Ok(Self::Refused),
            value => T::from_redis_value(value).map(Self::Done),
        }
    }
}
