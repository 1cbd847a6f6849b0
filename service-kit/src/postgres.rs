//! A pool of PostgreSQL connections that starts empty, so a service starts while its database is
//! unreachable.

use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use rustls::ClientConfig;
use secrecy::SecretString;
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::health::Fault;
use crate::tls::{self, Trust};

mod url;

pub use url::InvalidUrl;

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
pub struct PostgresTarget {
    config: tokio_postgres::Config,
    /// `None`: without TLS.
    tls: Option<ClientConfig>,
}

impl PostgresTarget {
    /// Parses a URL. With `sslmode=verify-full` its servers must have certificates of the
    /// authorities in `sslrootcert`, or else in `trust`.
    ///
    /// # Errors
    /// When it is malformed, names no host, or would use TLS without verification.
    pub fn parse(url: &SecretString, trust: &Trust) -> Result<Self, InvalidUrl> {
        let (config, tls) = url::parse(url, trust)?;
        Ok(Self { config, tls })
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
        let mut config = self.config.clone();
        config
            .application_name(application_name)
            .connect_timeout(connect)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        // `Fast` only checks whether the connection is closed, without a round trip.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &self.tls {
            None => Manager::from_config(config, NoTls, manager),
            Some(tls) => Manager::from_config(config, MakeRustlsConnect::new(tls.clone()), manager),
        };
        Pool::builder(manager)
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
        PoolError::Backend(error) => match error.as_db_error() {
            // How PostgreSQL ends its report of a connection that pg_hba.conf wants encrypted.
            Some(error) if error.message().ends_with("no encryption") => {
                "requires TLS: write sslmode=verify-full in its URL".into()
            }
            Some(_) => "rejects the login".into(),
            None => tls::fault(error).map_or_else(|| of_connection(error), Fault::from),
        },
        _ => UNREACHABLE.into(),
    }
}

const UNREACHABLE: &str = "cannot be connected to";

fn of_connection(error: &tokio_postgres::Error) -> Fault {
    // The client has no type for it.
    match std::error::Error::source(error).map(ToString::to_string).as_deref() {
        Some("server does not support TLS") => {
            "has no TLS: turn on its setting ssl, or write sslmode=disable in its URL".into()
        }
        _ => UNREACHABLE.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_quoted() {
        let parse = |url: &str| PostgresTarget::parse(&SecretString::from(url), &Trust::system());
        let target = parse("postgresql://tandem:hunter2@127.0.0.1:8432/tandem").expect("a URL");
        assert!(!format!("{target:?}").contains("hunter2"));
        for bad in
            ["", "host=127.0.0.1", "postgresql://", "redis://127.0.0.1", "postgresql://h:port/x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
