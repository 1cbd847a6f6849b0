//! A streaming standby, for reads that tolerate lag. It may be away, behind, or no standby at all:
//! then the primary is read, and no request fails (ADR 30).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Pool, PoolError, TimeoutType};
use service_kit::health::Fault;
use service_kit::telemetry::chain;
use service_kit::telemetry::traces::spans::Call;
use tokio_postgres::Row;
use tokio_postgres::types::{PgLsn, ToSql, Type};

use super::failpoints::{Failpoint, is_active};
use super::{StoreError, within, within_timeout};
use crate::domain::wal::{PrimaryPositions, WalPosition};

mod commits;
mod metrics;

pub use commits::{Commits, Known};
pub use metrics::{Fallback, ReadKind, ReplicaMetrics};

/// How long a read of the replica may take. After that, the primary is read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How often primary and replica are compared.
const COMPARED_EVERY: Duration = Duration::from_millis(500);
/// How long to wait between two looks at what the replica has replayed.
const REPLAY_POLL: Duration = Duration::from_millis(20);

/// The primary's position. What other transactions have committed is at or before it: a commit is
/// visible once its record is flushed, unless commits are asynchronous.
pub(super) const POSITION: &str = "\
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int8 \
    AS timeline, CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn() \
    ELSE pg_current_wal_flush_lsn() END AS lsn";
/// What a standby has replayed. Its timeline is that of the last checkpoint that it has made its
/// own: after a promotion it is the earlier one for a while, never a later one. No row if it is no
/// standby.
const REPLAYED: &str = "\
    SELECT timeline_id::int8 AS timeline, pg_last_wal_replay_lsn() AS lsn \
    FROM pg_control_checkpoint() WHERE pg_is_in_recovery()";
/// Which cluster a server belongs to.
const CLUSTER: &str = "SELECT system_identifier FROM pg_control_system()";

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// The replica. Cheap to clone.
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    primary: Pool,
    pool: Pool,
    max_lag: Duration,
    /// Whether it responded last, and was a standby of the primary.
    is_serving: AtomicBool,
    // A lock because positions are added while others are looked up; never held across an await.
    positions: Mutex<PrimaryPositions>,
    metrics: ReplicaMetrics,
}

/// What primary and replica are.
struct Compared {
    replayed: Option<WalPosition>,
    is_same_cluster: bool,
}

impl Replica {
    /// The replica behind `pool`. What is older than `max_lag` is not read.
    pub fn new(primary: Pool, pool: Pool, max_lag: Duration, metrics: ReplicaMetrics) -> Self {
        metrics.has_replica();
        Self(Arc::new(Inner {
            primary,
            pool,
            max_lag,
            is_serving: AtomicBool::new(false),
            positions: Mutex::default(),
            metrics,
        }))
    }

    /// Reads, if the replica has replayed `least`.
    ///
    /// # Errors
    /// Why the primary must be read.
    pub(super) async fn read_at(
        &self,
        least: &WalPosition,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fallback> {
        self.read(least, sql, parameters).await.map(|(_, rows)| rows)
    }

    /// Reads, if the replica has replayed `least`, and nothing is missing that was committed longer
    /// ago than the maximum lag.
    ///
    /// # Errors
    /// Why the primary must be read.
    pub(super) async fn read_since(
        &self,
        least: &WalPosition,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fallback> {
        let (replayed, rows) = self.read(least, sql, parameters).await?;
        let is_recent = self.positions().is_within(self.0.max_lag, &replayed, Instant::now());
        if is_recent || is_active(Failpoint::NoReplayCheck) {
            Ok(rows)
        } else {
            Err(Fallback::Lagging)
        }
    }

    async fn read(
        &self,
        least: &WalPosition,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<(WalPosition, Vec<Row>), Fallback> {
        self.require_serving()?;
        let call = Call::to_postgres("SELECT from replica", sql);
        let client = self.0.pool.get().await.map_err(|error| self.failed(error.into()))?;
        // The replayed position in an earlier snapshot than the rows, in one round trip.
        let work = async |client: &mut ClientWrapper| {
            let (begun, replayed, rows, ended) = tokio::join!(
                client.batch_execute("BEGIN READ ONLY"),
                client.query_typed_opt(REPLAYED, &[]),
                client.query_typed(sql, parameters),
                client.batch_execute("COMMIT"),
            );
            begun?;
            let read = (replayed?, rows?);
            ended?;
            Ok(read)
        };
        let read = within(READ_TIMEOUT, client, work).await;
        let (replayed, rows) = read.map_err(|error| {
            call.failed(error.kind());
            self.failed(error)
        })?;
        let replayed = replayed.as_ref().map(position).transpose();
        let replayed = replayed.ok().flatten().ok_or(Fallback::NoStandby)?;
        if replayed.includes(least) || is_active(Failpoint::NoReplayCheck) {
            Ok((replayed, rows))
        } else if replayed.timeline == least.timeline {
            Err(Fallback::Behind)
        } else {
            Err(Fallback::Timeline)
        }
    }

    /// Fails fast while the replica is known to be away.
    pub(super) fn require_serving(&self) -> Result<(), Fallback> {
        if self.0.is_serving.load(Ordering::Relaxed) { Ok(()) } else { Err(Fallback::Away) }
    }

    /// The primary's position now: at or after all that is committed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) async fn position(&self) -> Result<WalPosition, StoreError> {
        let client = self.0.primary.get().await?;
        let row =
            within_timeout(client, async |client| client.query_typed_one(POSITION, &[]).await);
        position(&row.await?)
    }

    /// Waits until no instance reads a state of the replica from before `position`, which was
    /// committed before `committed`: it has replayed that, or the maximum lag is over.
    pub(super) async fn wait_until_replayed(
        &self,
        position: Option<WalPosition>,
        committed: Instant,
    ) {
        let over = committed + self.0.max_lag;
        let replayed = async {
            let Some(position) = position else { return std::future::pending().await };
            loop {
                let compared = self.compare_replica(None).await;
                let replayed = compared.ok().and_then(|compared| compared.replayed);
                if replayed.is_some_and(|replayed| replayed.includes(&position)) {
                    return;
                }
                tokio::time::sleep(REPLAY_POLL).await;
            }
        };
        // Over or replayed: both do.
        let _elapsed = tokio::time::timeout_at(over.into(), replayed).await;
    }

    /// Closes the gate after a failure that others would meet, too.
    fn failed(&self, error: StoreError) -> Fallback {
        let is_away = match &error {
            StoreError::NoConnection(PoolError::Timeout(TimeoutType::Wait)) => {
                return Fallback::Busy;
            }
            StoreError::NoConnection(_) | StoreError::Timeout => true,
            // Shutting down or starting up.
            StoreError::Unavailable(error) => {
                error.code().is_none_or(|code| code.code().starts_with("57P"))
            }
            StoreError::Query(_) | StoreError::Row(_) | StoreError::Document(_) => false,
        };
        if is_away {
            self.set_serving(Err(&chain(&error)));
        }
        Fallback::Failed
    }

    fn set_serving(&self, serving: Result<(), &str>) {
        let was_serving = self.0.is_serving.swap(serving.is_ok(), Ordering::Relaxed);
        self.0.metrics.serving(serving.is_ok());
        match (serving, was_serving) {
            (Ok(()), false) => tracing::info!("the replica serves reads"),
            (Err(cause), true) => {
                tracing::warn!(cause, "the replica is not read; all reads go to the primary");
            }
            _ => {}
        }
    }

    /// Compares primary and replica, again and again.
    pub async fn follow(self) {
        let mut ticks = tokio::time::interval(COMPARED_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Of the replica: the lag counts from here while it cannot be read.
        let mut complete_until = Instant::now();
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            let cluster = match self.ask_primary().await {
                Ok((position, cluster)) => {
                    self.positions().add(asked, position);
                    Some(cluster)
                }
                // Then what is known gets old, and the replica with it.
                Err(_) => None,
            };
            match self.compare_replica(cluster).await {
                Ok(Compared { replayed: None, .. }) => self.set_serving(Err("it is no standby")),
                Ok(Compared { is_same_cluster: false, .. }) => {
                    self.set_serving(Err("it is a standby of another primary"));
                }
                Ok(Compared { replayed: Some(replayed), .. }) => {
                    let until = self.positions().complete_until(&replayed);
                    complete_until =
                        until.map_or(complete_until, |until| until.max(complete_until));
                    self.set_serving(Ok(()));
                }
                Err(error) => self.set_serving(Err(&chain(&error))),
            }
            self.0.metrics.lag(complete_until.elapsed());
        }
    }

    async fn ask_primary(&self) -> Result<(WalPosition, i64), StoreError> {
        let client = self.0.primary.get().await?;
        let work = async |client: &mut ClientWrapper| {
            let (row, cluster) = tokio::join!(
                client.query_typed_one(POSITION, &[]),
                client.query_typed_one(CLUSTER, &[]),
            );
            Ok((row?, cluster?.try_get(0)?))
        };
        let (row, cluster) = within(READ_TIMEOUT, client, work).await?;
        Ok((position(&row)?, cluster))
    }

    /// What the replica is. With no `cluster` to compare with, it is of the same one.
    async fn compare_replica(&self, cluster: Option<i64>) -> Result<Compared, StoreError> {
        let client = self.0.pool.get().await?;
        let work = async |client: &mut ClientWrapper| {
            let (row, own) = tokio::join!(
                client.query_typed_opt(REPLAYED, &[]),
                client.query_typed_one(CLUSTER, &[]),
            );
            Ok((row?, own?.try_get::<_, i64>(0)?))
        };
        let (row, own) = within(READ_TIMEOUT, client, work).await?;
        let replayed = row.as_ref().map(position).transpose()?;
        Ok(Compared { replayed, is_same_cluster: cluster.is_none_or(|cluster| cluster == own) })
    }

    /// A readiness probe.
    ///
    /// # Errors
    /// Why the replica is not read.
    pub async fn probe(self) -> Result<(), Fault> {
        self.require_serving().map_err(|_| "does not serve reads; the log has the reason".into())
    }

    fn positions(&self) -> MutexGuard<'_, PrimaryPositions> {
        self.0.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The position of a row of [`POSITION`] or [`REPLAYED`].
pub(super) fn position(row: &Row) -> Result<WalPosition, StoreError> {
    let timeline: i64 = row.try_get("timeline").map_err(StoreError::row)?;
    let lsn: PgLsn = row.try_get("lsn").map_err(StoreError::row)?;
    Ok(WalPosition { timeline: timeline.try_into().map_err(StoreError::row)?, lsn: lsn.into() })
}
