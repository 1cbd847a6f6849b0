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

/// What a script returned: `T` when it did its act, `R` when the act was done before, by a request with the same key.
#[derive(Debug, PartialEq)]
pub(super) enum Reply<T, R = ()> {
    /// Nil: the caller has no such session (or, for a create, another request has one already).
    Nil,
    /// `REFUSED`: the session is there (or, for a create, was), and the act was refused.
    Refused,
    /// `KEY_REUSED`: the key belongs to another request.
    KeyReused,
    /// The act was done.
    Done(T),
    /// The act was done before; this is what was kept of it.
    Replayed(R),
}

impl<T: FromRedisValue, R: FromRedisValue> FromRedisValue for Reply<T, R> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match value {
            Value::Nil => Ok(Self::Nil),
            Value::Int(0) => Ok(Self::Refused),
            Value::Int(-1) => Ok(Self::KeyReused),
            Value::Array(mut items) if items.first().is_some_and(is_replay_mark) => {
                items.remove(0);
                R::from_redis_value(Value::Array(items)).map(Self::Replayed)
            }
            value => T::from_redis_value(value).map(Self::Done),
        }
    }
}

fn is_replay_mark(item: &Value) -> bool {
    matches!(item, Value::BulkString(text) if text == b"replayed")
}
