//! Logins, and the refresh tokens that continue them.

use std::time::Duration;

use jiff::Timestamp;
use proto_contracts::accounts::{LOGIN_MAX_S, LOGIN_S};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Accounts, account};
use crate::domain::account::{Account, Username};
use crate::domain::audit::{Action, Entry, Initiator};
use crate::domain::refresh_token::RefreshToken;
use crate::store::{StoreError, audit, idempotency, revocations};

/// A repeated refresh within so many seconds is a retry, not a theft.
const RETRY_S: f64 = 10.0;
/// How often a refresh is tried again whose commit may have been lost.
const ATTEMPTS: usize = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);
/// The time of an access token of the user `u`. The database's clock decides, as it does of
/// revocations.
const ISSUED_AT: &str =
    "greatest(u.not_before, date_trunc('second', clock_timestamp())) AS issued_at";

/// The result of a refresh.
#[derive(Debug)]
pub enum Refreshed {
    /// The user, the next token, and when the access token is issued.
    Next(Account, RefreshToken, Timestamp),
    /// The token is unknown, has expired, or its login has ended.
    Invalid,
    /// The token was used before, so its login was ended: someone else may have it.
    Reused(Username),
}

impl Accounts {
    /// Begins a login of this user, with its first refresh token. Returns when the access token is
    /// issued; `None` when the user was disabled, was deleted, or got another password since its
    /// password was verified.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_login(
        &self,
        user: &Username,
        password_hash: &str,
        token: &RefreshToken,
        by: &Initiator,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.run(async |client| {
            let change = client.transaction().await?;
            // Waits for a revocation in progress, or lets it wait.
            let lock = format!(
                "SELECT {ISSUED_AT} FROM users u WHERE id = $1 AND password_hash = $2 \
                 AND disabled_at IS NULL AND deleted_at IS NULL FOR SHARE"
            );
            let given = [(&user.as_str() as _, Type::TEXT), (&password_hash as _, Type::TEXT)];
            let found = change.query_typed_opt(&lock, &given).await?;
            let Some(found) = found else { return Ok(None) };
            let issued_at = found.try_get("issued_at")?;
            let sql = format!(
                "WITH login AS (INSERT INTO logins (id, user_id, expires_at) \
                 VALUES ($1, $2, now() + interval '{LOGIN_S} seconds') RETURNING id) \
                 INSERT INTO refresh_tokens (hash, login_id) SELECT $3, id FROM login"
            );
            change
                .execute_typed(
                    &sql,
                    &[
                        (&Uuid::now_v7(), Type::UUID),
                        (&user.as_str(), Type::TEXT),
                        (&&token.hash()[..], Type::BYTEA),
                    ],
                )
                .await?;
            audit::record(&change, by, Entry::new(Action::LoggedIn, user)).await?;
            change.commit().await?;
            self.audited.recorded(Action::LoggedIn, 1);
            Ok(Some(issued_at))
        })
        .await
    }

    /// Uses a refresh token, and returns the next one. A repetition gets the same next one as long
    /// as that is unused: the first response, or the result of our own commit, may have been lost.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refresh(
        &self,
        token: &RefreshToken,
        by: &Initiator,
    ) -> Result<Refreshed, StoreError> {
        let next = RefreshToken::generate();
        let mut attempt = 1;
        loop {
            let refreshed =
                self.run(async |client| try_refresh(client, token, &next, by).await).await;
            match refreshed {
                Ok(refreshed) => {
                    let is_reuse = matches!(refreshed, Ok(Refreshed::Reused(_)));
                    self.audited.recorded(Action::RefreshTokenReused, u64::from(is_reuse));
                    return refreshed;
                }
                Err(error) if attempt == ATTEMPTS || !error.is_transient() => return Err(error),
                Err(_) => attempt += 1,
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// Ends the login of a refresh token, used or not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_login(&self, token: &RefreshToken, by: &Initiator) -> Result<(), StoreError> {
        self.run(async |client| {
            let change = client.transaction().await?;
            let sql = "UPDATE logins SET ended_at = now() WHERE ended_at IS NULL AND id = \
                       (SELECT login_id FROM refresh_tokens WHERE hash = $1) RETURNING user_id";
            let ended = change.query_typed_opt(sql, &[(&&token.hash()[..], Type::BYTEA)]).await?;
            if let Some(ended) = &ended {
                let user: Username = match ended.try_get::<_, &str>(0)?.parse() {
                    Ok(user) => user,
                    Err(error) => return Ok(Err(StoreError::row(error))),
                };
                let entry = Entry::new(Action::LoggedOut, &user).ends_logins(1);
                audit::record(&change, &by.acting_as(&user), entry).await?;
            }
            idempotency::keep(&change, by, None).await?;
            change.commit().await?;
            self.audited.recorded(Action::LoggedOut, u64::from(ended.is_some()));
            Ok(Ok(()))
        })
        .await?
    }

    /// Ends all logins of a user, and revokes its access tokens.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_logins_of(&self, user: &Username, by: &Initiator) -> Result<(), StoreError> {
        self.run(async |client| {
            let change = client.transaction().await?;
            let ended = revocations::revoke(&change, user).await?;
            let entry = Entry::new(Action::LoggedOut, user).ends_logins(ended);
            audit::record(&change, by, entry).await?;
            idempotency::keep(&change, by, None).await?;
            change.commit().await?;
            self.audited.recorded(Action::LoggedOut, 1);
            self.revoked.notify_one();
            Ok(())
        })
        .await
    }

    /// Deletes expired logins, and returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_expired_logins(&self) -> Result<u64, StoreError> {
        self.run(async |client| {
            client
                .execute_typed(
                    "DELETE FROM logins WHERE expires_at < now() - interval '1 day'",
                    &[],
                )
                .await
        })
        .await
    }
}

async fn try_refresh(
    client: &mut Client,
    token: &RefreshToken,
    next: &RefreshToken,
    by: &Initiator,
) -> Result<Result<Refreshed, StoreError>, tokio_postgres::Error> {
    let change = client.transaction().await?;
    // Refreshes of one login are in order. A statement of its own: one that waits for a lock reads
    // the other tables as they were before the wait.
    let lock = "SELECT FROM logins WHERE id = \
                (SELECT login_id FROM refresh_tokens WHERE hash = $1) FOR UPDATE";
    change.execute_typed(lock, &[(&&token.hash()[..], Type::BYTEA)]).await?;
    let sql = format!(
        "SELECT u.id, u.name, u.role, u.created_at, u.disabled_at, {ISSUED_AT}, \
               l.id AS login_id, t.sealed_successor, \
               extract(epoch FROM clock_timestamp() - t.used_at)::float8 AS used_s_ago, \
               EXISTS (SELECT FROM refresh_tokens s WHERE s.hash = t.successor \
                       AND s.used_at IS NOT NULL) AS successor_was_used \
               FROM refresh_tokens t JOIN logins l ON l.id = t.login_id \
               JOIN users u ON u.id = l.user_id \
               WHERE t.hash = $1 AND l.ended_at IS NULL AND l.expires_at > now() \
               AND l.created_at > now() - interval '{LOGIN_MAX_S} seconds' \
               AND u.disabled_at IS NULL AND u.deleted_at IS NULL"
    );
    let Some(row) = change.query_typed_opt(&sql, &[(&&token.hash()[..], Type::BYTEA)]).await?
    else {
        return Ok(Ok(Refreshed::Invalid));
    };
    let issued_at: Timestamp = row.try_get("issued_at")?;
    let login: Uuid = row.try_get("login_id")?;
    let used_s_ago: Option<f64> = row.try_get("used_s_ago")?;
    let account = match account(&row) {
        Ok(account) => account,
        Err(error) => return Ok(Err(error)),
    };
    match used_s_ago {
        None => {
            let used = "UPDATE refresh_tokens SET used_at = clock_timestamp(), successor = $2, \
                        sealed_successor = $3 WHERE hash = $1";
            let sealed = token.seal(next);
            change
                .execute_typed(
                    used,
                    &[
                        (&&token.hash()[..], Type::BYTEA),
                        (&&next.hash()[..], Type::BYTEA),
                        (&&sealed[..], Type::BYTEA),
                    ],
                )
                .await?;
            let added = "INSERT INTO refresh_tokens (hash, login_id) VALUES ($1, $2)";
            change
                .execute_typed(added, &[(&&next.hash()[..], Type::BYTEA), (&login, Type::UUID)])
                .await?;
            let extended = format!(
                "UPDATE logins SET expires_at = now() + interval '{LOGIN_S} seconds' WHERE id = $1"
            );
            change.execute_typed(&extended, &[(&login, Type::UUID)]).await?;
            change.commit().await?;
            Ok(Ok(Refreshed::Next(account, next.clone(), issued_at)))
        }
        Some(used_s_ago) => {
            let successor_was_used: bool = row.try_get("successor_was_used")?;
            let sealed: Option<Vec<u8>> = row.try_get("sealed_successor")?;
            let sealed = sealed.and_then(|sealed| <[u8; 32]>::try_from(sealed).ok());
            if let Some(sealed) = sealed
                && used_s_ago <= RETRY_S
                && !successor_was_used
            {
                return Ok(Ok(Refreshed::Next(account, token.open(&sealed), issued_at)));
            }
            change
                .execute_typed(
                    "UPDATE logins SET ended_at = now() WHERE id = $1",
                    &[(&login, Type::UUID)],
                )
                .await?;
            // By whom is unknown: the user or a thief.
            let entry = Entry::new(Action::RefreshTokenReused, &account.id).ends_logins(1);
            audit::record(&change, by, entry).await?;
            change.commit().await?;
            Ok(Ok(Refreshed::Reused(account.id)))
        }
    }
}
