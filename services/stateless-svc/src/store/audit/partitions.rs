//! The partitions of the audit log: one for each month (UTC), created ahead and dropped when they
//! are older than the retention.

use std::num::NonZeroU16;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use service_kit::telemetry::chain;
use tokio_postgres::Transaction;

use super::AuditMetrics;
use crate::store::{StoreError, classify};

/// Months that have a partition before they begin.
const AHEAD: i32 = 2;
/// How often the partitions are checked, and how soon again after a failure.
const INTERVAL: Duration = Duration::from_hours(1);
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// A month's rows may have to move out of the default partition.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Changes wait meanwhile, so it gives up before they do, and tries again later.
const LIMITS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '60s'";

/// Changes and readers wait here, at the table, and not at one of its partitions: a change that
/// waits at the default one when its row gets a partition is rejected with a violated constraint.
const LOCK: &str = "LOCK TABLE ONLY audit_log IN ACCESS EXCLUSIVE MODE; \
                    LOCK TABLE audit_log_default IN ACCESS EXCLUSIVE MODE";

/// Creates and drops partitions. Any number of instances may do it; one at a time does.
pub struct Partitions {
    pool: Pool,
    retention_months: NonZeroU16,
    metrics: AuditMetrics,
}

impl Partitions {
    /// Keeps so many months besides the present one.
    pub fn new(pool: Pool, retention_months: NonZeroU16, metrics: AuditMetrics) -> Self {
        Self { pool, retention_months, metrics }
    }

    /// Maintains them every hour. Until a month has its partition, its rows are in the default
    /// one, so no change fails for a missing partition.
    pub async fn maintain_hourly(self) {
        loop {
            let pause = match self.maintain().await {
                Ok(()) => {
                    self.metrics.maintained();
                    INTERVAL
                }
                Err(error) => {
                    tracing::warn!(cause = chain(&error), "cannot maintain the audit log yet");
                    AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
        }
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        let mut client = self.pool.get().await?;
        match tokio::time::timeout(TIMEOUT, self.change(&mut client)).await {
            Ok(done) => done.map_err(classify),
            Err(_) => {
                drop(Object::take(client));
                Err(StoreError::Timeout)
            }
        }
    }

    async fn change(&self, client: &mut Object) -> Result<(), tokio_postgres::Error> {
        let change = client.build_transaction().start().await?;
        change.batch_execute(LIMITS).await?;
        // Of the transaction, not of the session: it works through PgBouncer.
        let lock = "SELECT pg_try_advisory_xact_lock(hashtext('audit partitions')), now()";
        let row = change.query_typed_one(lock, &[]).await?;
        if !row.try_get::<_, bool>(0)? {
            // Another instance is at it.
            return Ok(());
        }
        let now: Timestamp = row.try_get(1)?;
        let this_month = Month::of(now);
        let first = this_month.plus(-i32::from(self.retention_months.get()));
        let present = months(
            &change,
            "SELECT substr(c.relname, 11) || '_01' FROM pg_inherits i \
             JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'audit_log'::regclass \
             AND c.relname ~ '^audit_log_[0-9]{4}_[0-9]{2}$'",
        )
        .await?;
        let mut wanted: Vec<_> = (0..=AHEAD).map(|months| this_month.plus(months)).collect();
        // Rows that came while there was no partition for them.
        let kept = "SELECT DISTINCT to_char(at AT TIME ZONE 'UTC', 'YYYY_MM_01') \
                    FROM audit_log_default WHERE at < now() + interval '1 month'";
        wanted.extend(months(&change, kept).await?.into_iter().filter(|month| *month >= first));
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|month| !present.contains(month));
        let expired: Vec<_> = present.into_iter().filter(|month| *month < first).collect();
        if !wanted.is_empty() || !expired.is_empty() {
            change.batch_execute(LOCK).await?;
        }
        for month in wanted {
            create(&change, month).await?;
            tracing::info!(partition = month.partition(), "created a partition of the audit log");
        }
        for month in expired {
            change.batch_execute(&format!("DROP TABLE {}", month.partition())).await?;
            tracing::info!(partition = month.partition(), "dropped a partition of the audit log");
        }
        let expired = format!("DELETE FROM audit_log_default WHERE at < '{}'", first.begin());
        change.batch_execute(&expired).await?;
        change.commit().await
    }
}

/// Months that a query names, as the text `2026_11_01`.
async fn months(
    change: &Transaction<'_>,
    query: &str,
) -> Result<Vec<Month>, tokio_postgres::Error> {
    let rows = change.query_typed(query, &[]).await?;
    let texts = rows.iter().map(|row| row.try_get::<_, String>(0));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok(texts.iter().filter_map(|text| Date::strptime("%Y_%m_%d", text).ok()).map(Month).collect())
}

/// Creates the partition of a month, with the rows of the month that the default one has. Nobody
/// writes there meanwhile, since the caller holds [`LOCK`], so none is left.
async fn create(change: &Transaction<'_>, month: Month) -> Result<(), tokio_postgres::Error> {
    let (partition, begin, end) = (month.partition(), month.begin(), month.plus(1).begin());
    change
        .batch_execute(&format!(
            "CREATE TABLE {partition} (LIKE audit_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
             WITH moved AS (DELETE FROM audit_log_default \
                            WHERE at >= '{begin}' AND at < '{end}' RETURNING *) \
             INSERT INTO {partition} SELECT * FROM moved; \
             ALTER TABLE audit_log ATTACH PARTITION {partition} \
             FOR VALUES FROM ('{begin}') TO ('{end}')"
        ))
        .await
}

/// A month, as its first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Month(Date);

impl Month {
    fn of(time: Timestamp) -> Self {
        Self(time.to_zoned(TimeZone::UTC).date().first_of_month())
    }

    fn plus(self, months: i32) -> Self {
        Self(self.0.saturating_add(months.months()).first_of_month())
    }

    fn partition(self) -> String {
        self.0.strftime("audit_log_%Y_%m").to_string()
    }

    /// As PostgreSQL reads it.
    fn begin(self) -> String {
        self.0.strftime("%Y-%m-%d 00:00:00+00").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_utc() {
        let month = Month::of("2026-12-31T23:59:59.999Z".parse().expect("a time"));
        assert_eq!(month.partition(), "audit_log_2026_12");
        assert_eq!(month.begin(), "2026-12-01 00:00:00+00");
        assert_eq!(month.plus(1).begin(), "2027-01-01 00:00:00+00");
        assert_eq!(month.plus(-12).partition(), "audit_log_2025_12");
        assert!(month.plus(-1) < month);
    }
}
