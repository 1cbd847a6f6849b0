//! Failed logins, counted by all instances together in the cache's Redis.
//!
//! While it is away, each instance counts by itself. That lets one more guess through per instance,
//! and keeps logins working.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use redis::{RedisError, Script};
use service_kit::redis::{NoConnection, RedisPool};
use service_kit::telemetry::chain;
use sha2::{Digest as _, Sha256};

use crate::domain::account::Username;
use crate::domain::attempts::{
    Attempts, FIRST_WAIT, FIRST_WITH_WAIT, FORGOTTEN_AFTER, LONGEST_WAIT,
};
use crate::domain::refusals::network;

/// Prefix of all keys.
const PREFIX: &str = "tandem:v1:failed-logins:";

/// The failed logins of usernames from addresses.
pub struct SharedAttempts {
    redis: RedisPool,
    own: Attempts,
    read: Script,
    count: Script,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no connection to the cache")]
    NoConnection(#[from] NoConnection),
    #[error("the command failed")]
    Command(#[from] RedisError),
}

impl SharedAttempts {
    /// Counts in this Redis.
    pub fn new(redis: RedisPool) -> Self {
        let read = Script::new(include_str!("attempts_read.lua"));
        let count = Script::new(include_str!("attempts_count.lua"));
        Self { redis, own: Attempts::default(), read, count }
    }

    /// How long this address must wait before another login as this user; `None` when it need not.
    pub async fn wait(&self, user: &Username, address: IpAddr) -> Option<Duration> {
        match self.shared_wait(&key(user, address)).await {
            Ok(wait) => Some(wait).filter(|wait| !wait.is_zero()),
            Err(fault) => {
                log(&fault);
                self.own.wait(user, address, Instant::now())
            }
        }
    }

    /// Counts a failure.
    pub async fn failed(&self, user: &Username, address: IpAddr) {
        self.own.failed(user, address, Instant::now());
        if let Err(fault) = self.count_one(&key(user, address)).await {
            log(&fault);
        }
    }

    /// Forgets the failures after a login.
    pub async fn succeeded(&self, user: &Username, address: IpAddr) {
        self.own.succeeded(user, address);
        if let Err(fault) = self.forget(&key(user, address)).await {
            log(&fault);
        }
    }

    async fn shared_wait(&self, key: &str) -> Result<Duration, Fault> {
        let mut connection = self.redis.get().await?;
        let wait = self.read.key(key).invoke_async(&mut *connection).await?;
        Ok(Duration::from_millis(wait))
    }

    async fn count_one(&self, key: &str) -> Result<(), Fault> {
        let mut connection = self.redis.get().await?;
        let mut call = self.count.key(key);
        call.arg(FIRST_WITH_WAIT);
        for limit in [FIRST_WAIT, LONGEST_WAIT, FORGOTTEN_AFTER] {
            call.arg(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        }
        Ok(call.invoke_async(&mut *connection).await?)
    }

    async fn forget(&self, key: &str) -> Result<(), Fault> {
        let mut connection = self.redis.get().await?;
        Ok(redis::cmd("DEL").arg(key).exec_async(&mut *connection).await?)
    }
}

/// A digest, so that the cache holds neither usernames nor addresses.
fn key(user: &Username, address: IpAddr) -> String {
    let digest = Sha256::digest(format!("{user} {}", network(address)));
    let bits = digest.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    format!("{PREFIX}{bits:032x}")
}

fn log(fault: &Fault) {
    tracing::debug!(cause = chain(fault), "failed logins are counted by this instance alone");
}
