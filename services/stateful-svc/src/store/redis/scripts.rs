//! The Lua scripts: one for each operation, each atomic.

use redis::{FromRedisValue, ParsingError, Script, Value};
use service_kit::telemetry::traces::spans::name_script;

use super::claim::Mark;

/// All scripts of the store, hashed once.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) read: Script,
    pub(super) append: Script,
    pub(super) patch: Script,
    pub(super) delete: Script,
    pub(super) adopt: Script,
    pub(super) history: Script,
    pub(super) touch: Script,
    pub(super) revoke: Script,
    /// From here on: scripts that do not read a session's content.
    pub(super) reserve_id: Script,
    pub(super) owned_add: Script,
    pub(super) owned_remove: Script,
    pub(super) owned_list: Script,
    pub(super) owned_look: Script,
    pub(super) confirm: Script,
    pub(super) not_before: Script,
    pub(super) take_lease: Script,
    pub(super) renew_lease: Script,
    pub(super) end_lease: Script,
    pub(super) publish_to_lease: Script,
}

macro_rules! script {
    ($name:literal) => {
        named(
            $name,
            Script::new(concat!(
                include_str!("session.lua"),
                "local function operation()\n",
                include_str!(concat!($name, ".lua")),
                "end\n",
                include_str!("claim.lua")
            )),
        )
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: script!("create"),
            read: script!("read"),
            append: script!("append"),
            patch: script!("patch"),
            delete: script!("delete"),
            adopt: script!("adopt"),
            history: script!("history"),
            touch: script!("touch"),
            revoke: script!("revoke"),
            reserve_id: named("reserve_id", Script::new(include_str!("reserve_id.lua"))),
            owned_add: named("owned_add", Script::new(include_str!("owned_add.lua"))),
            owned_remove: named("owned_remove", Script::new(include_str!("owned_remove.lua"))),
            owned_list: named("owned_list", Script::new(include_str!("owned_list.lua"))),
            owned_look: named("owned_look", Script::new(include_str!("owned_look.lua"))),
            not_before: named("not_before", Script::new(include_str!("not_before.lua"))),
            confirm: named("confirm", Script::new(include_str!("confirm.lua"))),
            take_lease: named("lease_take", Script::new(include_str!("lease_take.lua"))),
            renew_lease: named("lease_renew", Script::new(include_str!("lease_renew.lua"))),
            end_lease: named("lease_end", Script::new(include_str!("lease_end.lua"))),
            publish_to_lease: named(
                "lease_publish",
                Script::new(include_str!("lease_publish.lua")),
            ),
        }
    }
}

/// Registers the script's name for spans.
fn named(name: &'static str, script: Script) -> Script {
    name_script(&script, name);
    script
}

/// A script's return value, including what `claim.lua` adds.
#[derive(Debug, PartialEq)]
pub(super) struct Response<T> {
    /// Redis's time, in milliseconds since 1970.
    pub(super) now: i64,
    /// The sender may keep a copy.
    pub(super) held: bool,
    /// The session has an owner. After a successful operation that is the caller.
    pub(super) is_owned: bool,
    /// Copies that may still exist.
    pub(super) drops: Vec<Mark>,
    /// The earliest time of issue of a valid token of the owner, in seconds since 1970.
    pub(super) not_before: i64,
    /// The operation's own result; `None` for `UNSURE`: whether an earlier attempt was executed is
    /// not known.
    pub(super) reply: Option<T>,
}

impl<T: FromRedisValue> FromRedisValue for Response<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut items = Vec::<Value>::from_redis_value(value)?.into_iter();
        // Lua omits a nil at the end of a table.
        let mut next = || items.next().unwrap_or(Value::Nil);
        Ok(Self {
            now: i64::from_redis_value(next())?,
            held: i64::from_redis_value(next())? == 1,
            is_owned: !String::from_redis_value(next())?.is_empty(),
            drops: Mark::list(&String::from_redis_value(next())?)?,
            not_before: i64::from_redis_value(next())?,
            reply: match next() {
                Value::Int(-2) => None,
                reply => Some(T::from_redis_value(reply)?),
            },
        })
    }
}

/// An operation's result: `T`, or `R` for the repetition of a request with the same key.
#[derive(Debug, PartialEq)]
pub(super) enum Reply<T, R = ()> {
    /// Nil: the caller has no such session (for a create: another request has created it).
    Nil,
    /// `REFUSED`: the operation was rejected (for a create: the session was deleted).
    Refused,
    /// `KEY_REUSED`: the key was used with another request.
    KeyReused,
    /// `PRECONDITION_FAILED`: the session's tag does not satisfy the precondition.
    PreconditionFailed,
    /// `REVOKED`: the caller's token is older than the owner's last revocation.
    Revoked,
    /// The operation was executed.
    Done(T),
    /// An earlier request executed the operation; this is its kept result.
    Replayed(R),
}

impl<T: FromRedisValue, R: FromRedisValue> FromRedisValue for Reply<T, R> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match value {
            Value::Nil => Ok(Self::Nil),
            Value::Int(0) => Ok(Self::Refused),
            Value::Int(-1) => Ok(Self::KeyReused),
            Value::Int(-3) => Ok(Self::PreconditionFailed),
            Value::Int(-4) => Ok(Self::Revoked),
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
