//! A pool of PostgreSQL connections that starts empty, so a service starts while its database is
//! unreachable.

use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::NoTls;

use crate::health::Fault;

/// Connections of one instance. PostgreSQL's default limit is 100 in total.
pub const MAX_CONNECTIONS: usize = 16;
/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct PostgresTimeouts {
    /// For a free connection of the pool.
    pub wait: Duration,
    /// For a new connection.
    pub connect: Duration,
    /// For a statement, on the server. The client's timeout is shorter.
    pub statement: Duration,
}

impl PostgresTimeouts {
    /// For a server that requests depend on. The client's timeout is [`QUERY_TIMEOUT`].
    pub const PRIMARY: Self = Self {
        wait: Duration::from_secs(2),
        connect: Duration::from_secs(2),
        statement: Duration::from_secs(5),
    };
    /// For a server that requests can do without.
    pub const REPLICA: Self = Self {
        wait: Duration::from_millis(100),
        connect: Duration::from_millis(500),
        statement: Duration::from_secs(2),
    };
}

/// The client's timeout for queries. After it, drop the connection instead of returning it to the
/// pool: the response may still arrive.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long sent data may stay unacknowledged before the connection is closed.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A parsed database URL. `Debug` hides the password.
#[derive(Clone, Debug)]
pub struct PostgresTarget(tokio_postgres::Config);

/// The text is not a PostgreSQL URL. Never quotes it, since it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of the form postgresql://user:password@host:port/database")]
pub struct InvalidUrl;

impl PostgresTarget {
    /// Parses a URL.
    ///
    /// # Errors
    /// When it is malformed or names no host.
    pub fn parse(url: &SecretString) -> Result<Self, InvalidUrl> {
        let url = url.expose_secret();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(InvalidUrl);
        }
        let config = tokio_postgres::Config::from_str(url).map_err(|_| InvalidUrl)?;
        if config.get_hosts().is_empty() { Err(InvalidUrl) } else { Ok(Self(config)) }
    }

    /// The pool of a server that requests depend on. It connects on first use.
    ///
    /// # Errors
    /// Never in practice: its timeouts need a runtime, and it has one.
    pub fn pool(&self, application_name: &str) -> Result<Pool, deadpool_postgres::BuildError> {
        self.pool_within(application_name, PostgresTimeouts::PRIMARY)
    }

    /// The pool, with these timeouts.
    ///
    /// # Errors
    /// See [`PostgresTarget::pool`].
    pub fn pool_within(
        &self,
        application_name: &str,
        timeouts: PostgresTimeouts,
    ) -> Result<Pool, deadpool_postgres::BuildError> {
        let PostgresTimeouts { wait, connect, statement } = timeouts;
        let mut config = self.0.clone();
        config
            .application_name(application_name)
            .connect_timeout(connect)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        // `Fast` only checks whether the connection is closed, without a round trip.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        Pool::builder(Manager::from_config(config, NoTls, manager))
            .max_size(MAX_CONNECTIONS)
            .wait_timeout(Some(wait))
            .create_timeout(Some(connect))
            .recycle_timeout(Some(connect))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                Box::pin(limit_statements(client, statement, connect))
            }))
            .build()
    }
}

/// By a statement: PgBouncer rejects the startup option.
async fn limit_statements(
    client: &mut ClientWrapper,
    limit: Duration,
    timeout: Duration,
) -> Result<(), HookError> {
    let set = format!("SET statement_timeout = {}", limit.as_millis());
    match tokio::time::timeout(timeout, client.batch_execute(&set)).await {
        Ok(done) => done.map_err(HookError::Backend),
        Err(_) => Err(HookError::message("a new connection does not respond")),
    }
}

/// A readiness probe.
///
/// # Errors
/// A description without secrets.
pub async fn probe(pool: Pool) -> Result<(), Fault> {
    let client = pool.get().await.map_err(|error| fault(&error))?;
    client.batch_execute("").await.map_err(|_| "does not respond".into())
}

fn fault(error: &PoolError) -> Fault {
    match error {
        PoolError::Timeout(_) | PoolError::PostCreateHook(HookError::Message(_)) => {
            "no connection in time".into()
        }
        PoolError::Backend(error) if error.as_db_error().is_some() => "rejects the login".into(),
        _ => "cannot be connected to".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_quoted() {
        let parse = |url: &str| PostgresTarget::parse(&SecretString::from(url));
        let target = parse("postgresql://tandem:hunter2@127.0.0.1:8432/tandem").expect("a URL");
        assert!(!format!("{target:?}").contains("hunter2"));
        for bad in
            ["", "host=127.0.0.1", "postgresql://", "redis://127.0.0.1", "postgresql://h:port/x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
