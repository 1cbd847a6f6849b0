//! The audit log in PostgreSQL.

use jiff::Timestamp;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::domain::account::Username;
use crate::domain::audit::{Entry, Initiator};

/// Records a change in its transaction, so that each committed change has exactly one row.
///
/// # Errors
/// When PostgreSQL rejects the row. Then the transaction cannot be committed.
pub async fn record(
    change: &Transaction<'_>,
    by: &Initiator,
    entry: Entry<'_>,
) -> Result<(), tokio_postgres::Error> {
    let (id, at) = new_id();
    let Entry { action, object, before, after } = entry;
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &id,
        &at,
        &by.actor.kind(),
        &by.actor.username().map(Username::as_str),
        &action.as_str(),
        &object.as_str(),
        &by.request_id.map(Uuid::from),
        &by.address,
        &before,
        &after,
    ];
    let sql = "INSERT INTO audit_log \
               (id, at, actor_kind, actor, action, object, request_id, address, before, after) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    change.execute(sql, &parameters).await?;
    Ok(())
}

/// A row's id and its time, which is the one in the id: both orders are the same.
fn new_id() -> (Uuid, Timestamp) {
    let id = Uuid::now_v7();
    (id, time_of(id).unwrap_or_else(Timestamp::now))
}

/// The time in a UUID of version 7.
fn time_of(id: Uuid) -> Option<Timestamp> {
    let milliseconds = id.as_u128() >> 80;
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_the_time_of_its_row() {
        let before = Timestamp::now().as_millisecond();
        let (id, at) = new_id();
        let after = Timestamp::now().as_millisecond();
        assert!((before..=after).contains(&at.as_millisecond()), "{id} {at}");
        assert_eq!(time_of(id), Some(at));
    }
}
