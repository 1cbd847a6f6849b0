//! A pool of PostgreSQL connections that starts empty: a service starts while its database is away.

use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::NoTls;

use crate::health::Fault;

/// Connections of one instance. PostgreSQL allows 100 in all by default.
pub const MAX_CONNECTIONS: usize = 16;
/// How long a request waits for a free connection.
const WAIT: Duration = Duration::from_secs(2);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// After this time the server ends a statement by itself, in milliseconds. The client gives up at [`QUERY_TIMEOUT`].
const STATEMENT_TIMEOUT_MS: u32 = 5_000;
/// How long a caller should wait for an answer at most. The connection must then be dropped, not returned to the pool:
/// the answer may still come.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the database is, checked and ready to connect to. Its `Debug` hides the password.
#[derive(Clone, Debug)]
pub struct PostgresTarget(tokio_postgres::Config);

/// The text is not a PostgreSQL URL. It says no more, since the text holds a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of the form postgresql://user:password@host:port/database")]
pub struct InvalidUrl;

impl PostgresTarget {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is none, or names no host.
    pub fn parse(url: &SecretString) -> Result<Self, InvalidUrl> {
        let url = url.expose_secret();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(InvalidUrl);
        }
        let config = tokio_postgres::Config::from_str(url).map_err(|_| InvalidUrl)?;
        if config.get_hosts().is_empty() { Err(InvalidUrl) } else { Ok(Self(config)) }
    }

    /// The pool. Nothing is connected until something is asked for.
    ///
    /// # Errors
    /// Never in practice: a time-out needs a runtime, and it has one.
    pub fn pool(&self, application_name: &str) -> Result<Pool, deadpool_postgres::BuildError> {
        let mut config = self.0.clone();
        config.application_name(application_name).connect_timeout(CONNECT).tcp_user_timeout(TCP_USER_TIMEOUT);
        // `Fast` only looks whether the connection is closed: no round trip for each checkout.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        Pool::builder(Manager::from_config(config, NoTls, manager))
            .max_size(MAX_CONNECTIONS)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(|client, _| Box::pin(limit_statements(client))))
            .build()
    }
}

/// Not an option of the log-in, which PgBouncer refuses.
async fn limit_statements(client: &mut ClientWrapper) -> Result<(), HookError> {
    let set = format!("SET statement_timeout = {STATEMENT_TIMEOUT_MS}");
    match tokio::time::timeout(CONNECT, client.batch_execute(&set)).await {
        Ok(done) => done.map_err(HookError::Backend),
        Err(_) => Err(HookError::message("a new connection does not answer")),
    }
}

/// A readiness probe.
///
/// # Errors
/// In words without a secret.
pub async fn probe(pool: Pool) -> Result<(), Fault> {
    let client = pool.get().await.map_err(|error| fault(&error))?;
    client.batch_execute("").await.map_err(|_| "does not answer".into())
}

fn fault(error: &PoolError) -> Fault {
    match error {
        PoolError::Timeout(_) | PoolError::PostCreateHook(HookError::Message(_)) => "no connection in time".into(),
        PoolError::Backend(error) if error.as_db_error().is_some() => "refuses the log-in".into(),
        _ => "cannot be connected to".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_told() {
        let parse = |url: &str| PostgresTarget::parse(&SecretString::from(url));
        let target = parse("postgresql://tandem:hunter2@127.0.0.1:8432/tandem").expect("a URL");
        assert!(!format!("{target:?}").contains("hunter2"));
        for bad in ["", "host=127.0.0.1", "postgresql://", "redis://127.0.0.1", "postgresql://h:port/x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
