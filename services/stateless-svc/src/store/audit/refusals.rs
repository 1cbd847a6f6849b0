//! Writes the sums of refused requests.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use jiff::Timestamp;
use service_kit::telemetry::chain;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::AuditMetrics;
use crate::domain::account::Username;
use crate::domain::audit::{Action, Initiator};
use crate::domain::refusals::RefusalSums;
use crate::store::{StoreError, within_timeout};

/// How long a refusal waits to be written. A crash loses so much.
const INTERVAL: Duration = Duration::from_secs(1);

/// Adds to the sums of the minute, of which other instances write the same.
const WRITE: &str = "\
    INSERT INTO audit_log (id, at, actor_kind, action, address, after, count) \
    SELECT s.id, s.at, 'anonymous', s.action, s.address::inet, jsonb_build_object('users', \
        (SELECT coalesce(jsonb_agg(u.id ORDER BY u.id), '[]') FROM users u \
         WHERE u.id = ANY (string_to_array(s.users, ' ')))), s.count \
    FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::bigint[]) \
        AS s (id, at, action, address, users, count) \
    ORDER BY s.id \
    ON CONFLICT (at, id) DO UPDATE SET count = audit_log.count + excluded.count, \
        after = jsonb_build_object('users', (SELECT coalesce(jsonb_agg(named.u), '[]') FROM \
            (SELECT DISTINCT u FROM \
             jsonb_array_elements(audit_log.after -> 'users' || (excluded.after -> 'users')) u \
             ORDER BY u LIMIT 20) named))";

/// Sums refused requests, and writes the sums in the background. Cheap to clone.
#[derive(Clone)]
pub struct Refusals {
    pool: Pool,
    metrics: AuditMetrics,
    // Held for one change of the map. Refused requests are rare; the limits of logins see to it.
    sums: Arc<Mutex<RefusalSums>>,
}

impl Refusals {
    /// Writes through this pool.
    pub fn new(pool: Pool, metrics: AuditMetrics) -> Self {
        Self { pool, metrics, sums: Arc::default() }
    }

    /// Counts a request that was refused: of an initiator, and about a user or by one.
    pub fn note(&self, action: Action, by: &Initiator, user: Option<&Username>) {
        self.add(action, by.address, user);
    }

    fn add(&self, action: Action, address: Option<IpAddr>, user: Option<&Username>) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.add(action, address, user, Timestamp::now());
    }

    /// Writes the sums again and again.
    pub async fn write_continually(self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.write().await {
                tracing::warn!(cause = chain(&error), "cannot write sums of refused requests yet");
            }
        }
    }

    /// Writes the sums. After a failure they are kept for the next time; a sum whose commit was
    /// lost then counts twice.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write(&self) -> Result<(), StoreError> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).take();
        if sums.is_empty() {
            return Ok(());
        }
        match self.try_write(&sums).await {
            Ok(()) => {
                for (key, sum) in sums.iter() {
                    self.metrics.recorded(key.action, sum.count);
                }
                Ok(())
            }
            Err(error) => {
                self.sums.lock().unwrap_or_else(PoisonError::into_inner).put_back(sums);
                Err(error)
            }
        }
    }

    async fn try_write(&self, sums: &RefusalSums) -> Result<(), StoreError> {
        let mut ids: Vec<Uuid> = Vec::new();
        let mut times: Vec<Timestamp> = Vec::new();
        let mut actions = Vec::new();
        let mut networks: Vec<Option<&str>> = Vec::new();
        let mut users = Vec::new();
        let mut counts: Vec<i64> = Vec::new();
        for (key, sum) in sums.iter() {
            let id = key.entry_id();
            ids.push(*id.uuid());
            times.push(*id.at());
            actions.push(key.action.as_str());
            networks.push(key.network.as_deref());
            users.push(sum.users.iter().map(Username::as_str).collect::<Vec<_>>().join(" "));
            counts.push(i64::try_from(sum.count).unwrap_or(i64::MAX));
        }
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&ids, Type::UUID_ARRAY),
            (&times, Type::TIMESTAMPTZ_ARRAY),
            (&actions, Type::TEXT_ARRAY),
            (&networks, Type::TEXT_ARRAY),
            (&users, Type::TEXT_ARRAY),
            (&counts, Type::INT8_ARRAY),
        ];
        within_timeout(self.pool.get().await?, async |client| {
            client.execute_typed(WRITE, &parameters).await
        })
        .await?;
        Ok(())
    }
}
