//! Up to where a user may know of changes, in the cache's Redis for 60 s: what a replica must have
//! replayed to serve that user (ADR 30).
//!
//! A key holds a position, or a random text while the position is unknown. It comes into being by
//! a read alone: so a user without a key is one of whom nothing is known, not one who changed
//! nothing.

use std::time::Instant;

use redis::{RedisError, Script};
use service_kit::redis::{NoConnection, RedisPool};
use service_kit::telemetry::chain;
use service_kit::telemetry::traces::spans::name_script;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Replica;
use crate::domain::account::Username;
use crate::domain::wal::WalPosition;

#[cfg(test)]
mod model;

/// Prefix of all keys.
const PREFIX: &str = "tandem:v1:commits:";
/// How long a key is kept after its last use, in seconds.
const KEPT_S: u64 = 60;

/// What Redis knows of a user.
#[derive(Debug)]
pub struct Known {
    key: String,
    /// The text that was there.
    seen: String,
}

impl Known {
    /// Up to where the user may know of changes, if that is known.
    pub fn position(&self) -> Option<WalPosition> {
        self.seen.parse().ok()
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no connection to the cache")]
    NoConnection(#[from] NoConnection),
    #[error("the command failed")]
    Command(#[from] RedisError),
}

/// The positions of users. Cheap to clone.
#[derive(Clone)]
pub struct Commits {
    redis: RedisPool,
    replica: Replica,
    look_up: Script,
    learn: Script,
    record: Script,
}

impl Commits {
    /// Kept in this Redis, for reads of this replica.
    pub fn new(redis: RedisPool, replica: Replica) -> Self {
        let look_up = Script::new(include_str!("commits_look_up.lua"));
        let learn = Script::new(include_str!("commits_learn.lua"));
        let record = Script::new(include_str!("commits_record.lua"));
        name_script(&look_up, "commits_look_up");
        name_script(&learn, "commits_learn");
        name_script(&record, "commits_record");
        Self { redis, replica, look_up, learn, record }
    }

    /// What is known of a user; `None` if Redis is away. Call it after the request has arrived.
    pub(in crate::store) async fn look_up(&self, user: &Username) -> Option<Known> {
        let key = key(user);
        let seen: Result<String, Fault> = async {
            let mut connection = self.redis.get().await?;
            let mut call = self.look_up.key(&key);
            call.arg(format!("?{}", Uuid::new_v4().simple())).arg(KEPT_S);
            Ok(call.invoke_async(&mut *connection).await?)
        }
        .await;
        match seen {
            Ok(seen) => Some(Known { key, seen }),
            Err(fault) => {
                log(&fault);
                None
            }
        }
    }

    /// Keeps the primary's position, which was read after the lookup, unless a change was recorded
    /// meanwhile.
    pub(in crate::store) async fn learn(&self, known: &Known, position: WalPosition) {
        let learnt: Result<(), Fault> = async {
            let mut connection = self.redis.get().await?;
            let mut call = self.learn.key(&known.key);
            call.arg(&known.seen).arg(position.to_string()).arg(KEPT_S);
            Ok(call.invoke_async(&mut *connection).await?)
        }
        .await;
        if let Err(fault) = learnt {
            log(&fault);
        }
    }

    /// Records that a user has changed something, between its commit and the response. When it
    /// returns, no instance serves the user by a replica that lacks the change.
    pub async fn committed(&self, user: &Username) {
        let committed = Instant::now();
        let position = self.replica.position().await.ok();
        if let Err(fault) = self.try_record(user, position).await {
            log(&fault);
            self.replica.wait_until_replayed(position, committed).await;
        }
    }

    async fn try_record(
        &self,
        user: &Username,
        position: Option<WalPosition>,
    ) -> Result<(), Fault> {
        let mut connection = self.redis.get().await?;
        let mut call = self.record.key(key(user));
        call.arg(position.map_or(String::new(), |position| position.to_string())).arg(KEPT_S);
        Ok(call.invoke_async(&mut *connection).await?)
    }
}

/// A digest, so that the cache holds no usernames.
fn key(user: &Username) -> String {
    let digest = Sha256::digest(user.as_str());
    let bits = digest.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    format!("{PREFIX}{bits:032x}")
}

fn log(fault: &Fault) {
    tracing::debug!(cause = chain(fault), "what a user may know of is not kept in the cache");
}
