//! Users and their logins in PostgreSQL. Each change is one transaction, with its row of the audit
//! log.

use std::sync::Arc;

use deadpool_postgres::Pool;
use proto_contracts::Role;
use tokio::sync::Notify;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Transaction};

use super::audit::{self, AuditMetrics};
use super::{StoreError, idempotency, revocations, within_timeout};
use crate::domain::account::{Account, AccountChange, DisplayName, UserPageRequest, Username};
use crate::domain::audit::{Action, Entry, Initiator, snapshot};
use crate::domain::outcome::Outcome;

mod invitations;
mod logins;

pub use invitations::InviteError;
pub use logins::Refreshed;

/// Reads and changes accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pool: Pool,
    audited: AuditMetrics,
    revoked: Arc<Notify>,
}

/// Why a user could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The username is or was someone's.
    #[error("the username is taken")]
    Taken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a user was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such user, or it is deleted.
    #[error("there is no such user")]
    NotFound,
    /// No admin would be left.
    #[error("the last admin stays one")]
    LastAdmin,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The number of users of one kind.
pub struct UserCount {
    /// What they may do.
    pub role: Role,
    /// Whether they cannot log in.
    pub is_disabled: bool,
    /// How many.
    pub users: i64,
}

/// A user who can log in, with the password's PHC string.
pub struct Credentials {
    /// The user.
    pub account: Account,
    /// Argon2id; `None` for an imported user who has not set one.
    pub password_hash: Option<String>,
}

impl Accounts {
    /// Reads and writes through this pool.
    pub fn new(pool: Pool, audited: AuditMetrics) -> Self {
        Self { pool, audited, revoked: Arc::default() }
    }

    /// Notified when a revocation was written to the outbox.
    pub fn revoked(&self) -> Arc<Notify> {
        Arc::clone(&self.revoked)
    }

    /// Adds a user with the role `user`.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register(
        &self,
        id: &Username,
        name: &DisplayName,
        password_hash: &str,
        by: &Initiator,
    ) -> Result<Account, RegisterError> {
        self.run(async |client| {
            let transaction = client.transaction().await?;
            let sql = "INSERT INTO users (id, name, password_hash) VALUES ($1, $2, $3) \
                       ON CONFLICT (id) DO NOTHING \
                       RETURNING id, name, role, created_at, disabled_at";
            let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
                (&id.as_str(), Type::TEXT),
                (&name.as_str(), Type::TEXT),
                (&password_hash, Type::TEXT),
            ];
            let Some(row) = transaction.query_typed_opt(sql, &parameters).await? else {
                return Ok(Err(RegisterError::Taken));
            };
            let registered = match account(&row) {
                Ok(registered) => registered,
                Err(error) => return Ok(Err(error.into())),
            };
            let after = Some(snapshot(&registered));
            let entry = Entry { after, ..Entry::new(Action::UserRegistered, id) };
            audit::record(&transaction, by, entry).await?;
            idempotency::keep(&transaction, by, Some(Outcome::Account(registered.clone()))).await?;
            transaction.commit().await?;
            self.audited.recorded(Action::UserRegistered, 1);
            Ok(Ok(registered))
        })
        .await?
    }

    /// The user with this name, unless it is disabled or deleted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, id: &Username) -> Result<Option<Credentials>, StoreError> {
        let found = self
            .run(async |client| {
                let sql = "SELECT id, name, role, created_at, disabled_at, password_hash FROM users \
                           WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL";
                client.query_typed_opt(sql, &[(&id.as_str(), Type::TEXT)]).await
            })
            .await?;
        let credentials = |row: Row| {
            let hash: String = row.try_get("password_hash").map_err(StoreError::row)?;
            let password_hash = Some(hash).filter(|hash| !hash.is_empty());
            Ok(Credentials { account: account(&row)?, password_hash })
        };
        found.map(credentials).transpose()
    }

    /// The user with this name, disabled or not, unless it is deleted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn get(&self, id: &Username) -> Result<Option<Account>, StoreError> {
        let found = self
            .run(async |client| {
                let sql = "SELECT id, name, role, created_at, disabled_at FROM users \
                           WHERE id = $1 AND deleted_at IS NULL";
                client.query_typed_opt(sql, &[(&id.as_str(), Type::TEXT)]).await
            })
            .await?;
        found.as_ref().map(account).transpose()
    }

    /// One user more than the page has, if there are so many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(&self, page: &UserPageRequest) -> Result<Vec<Account>, StoreError> {
        let one_more = i64::from(page.limit) + 1;
        let role = page.role.map(Role::as_str);
        let rows = self
            .run(async |client| {
                let sql = "SELECT id, name, role, created_at, disabled_at FROM users \
                           WHERE id > $1 AND deleted_at IS NULL AND ($3::text IS NULL OR role = $3) \
                           ORDER BY id LIMIT $2";
                let parameters: [(&(dyn ToSql + Sync), Type); 3] =
                    [(&page.after, Type::TEXT), (&one_more, Type::INT8), (&role, Type::TEXT)];
                client.query_typed(sql, &parameters).await
            })
            .await?;
        rows.iter().map(account).collect()
    }

    /// How many users have each role and are disabled or not, without the deleted ones.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count(&self) -> Result<Vec<UserCount>, StoreError> {
        let rows = self
            .run(async |client| {
                let sql = "SELECT role, disabled_at IS NOT NULL AS is_disabled, count(*) FROM users \
                           WHERE deleted_at IS NULL GROUP BY 1, 2";
                client.query_typed(sql, &[]).await
            })
            .await?;
        let count = |row: &Row| {
            Ok(UserCount {
                role: role(row)?,
                is_disabled: row.try_get("is_disabled").map_err(StoreError::row)?,
                users: row.try_get("count").map_err(StoreError::row)?,
            })
        };
        rows.iter().map(count).collect()
    }

    /// Changes a user. A disabled user's logins end.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change(
        &self,
        id: &Username,
        change: &AccountChange,
        by: &Initiator,
    ) -> Result<Account, ChangeError> {
        let name = change.name.as_ref().map(DisplayName::as_str);
        let role = change.role.map(Role::as_str);
        self.run(async |client| {
            let transaction = client.transaction().await?;
            let sql = "UPDATE users SET name = coalesce($2, name), role = coalesce($3, role), \
                       disabled_at = CASE WHEN $4 THEN coalesce(disabled_at, now()) \
                                          WHEN NOT $4 THEN NULL ELSE disabled_at END \
                       WHERE id = $1 AND deleted_at IS NULL \
                       RETURNING id, name, role, created_at, disabled_at";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&id.as_str(), Type::TEXT),
                (&name, Type::TEXT),
                (&role, Type::TEXT),
                (&change.is_disabled, Type::BOOL),
            ];
            let Some(before) = lock(&transaction, id).await? else {
                return Ok(Err(ChangeError::NotFound));
            };
            let had_password: bool = before.try_get("has_password")?;
            let row = transaction.query_typed_one(sql, &parameters).await?;
            let (before, after) = match (account(&before), account(&row)) {
                (Ok(before), Ok(after)) => (before, after),
                (Err(error), _) | (_, Err(error)) => return Ok(Err(error.into())),
            };
            if had_password && is_admin(&before) && !has_admin(&transaction).await? {
                return Ok(Err(ChangeError::LastAdmin));
            }
            // Also when it is disabled already: a repetition does no harm.
            if change.is_disabled == Some(true) {
                revocations::revoke(&transaction, id).await?;
            }
            // A repetition changes nothing.
            let is_change = before != after;
            if is_change {
                let (before, after) = (Some(snapshot(&before)), Some(snapshot(&after)));
                let entry = Entry { before, after, ..Entry::new(Action::UserChanged, id) };
                audit::record(&transaction, by, entry).await?;
            }
            idempotency::keep(&transaction, by, Some(Outcome::Account(after.clone()))).await?;
            transaction.commit().await?;
            self.audited.recorded(Action::UserChanged, u64::from(is_change));
            self.revoked.notify_one();
            Ok(Ok(after))
        })
        .await?
    }

    /// Deletes a user and its password, and ends its logins. The row stays, so that the username is
    /// never issued again.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn delete(&self, id: &Username, by: &Initiator) -> Result<(), ChangeError> {
        self.run(async |client| {
            let transaction = client.transaction().await?;
            let Some(before) = lock(&transaction, id).await? else {
                return Ok(Err(ChangeError::NotFound));
            };
            let had_password: bool = before.try_get("has_password")?;
            let before = match account(&before) {
                Ok(before) => before,
                Err(error) => return Ok(Err(error.into())),
            };
            let sql = "UPDATE users SET deleted_at = now(), name = '(deleted)', password_hash = '' \
                       WHERE id = $1";
            transaction.execute_typed(sql, &[(&id.as_str(), Type::TEXT)]).await?;
            if had_password && is_admin(&before) && !has_admin(&transaction).await? {
                return Ok(Err(ChangeError::LastAdmin));
            }
            revocations::revoke(&transaction, id).await?;
            end_invitation(&transaction, id, None).await?;
            let before = Some(snapshot(&before));
            let entry = Entry { before, ..Entry::new(Action::UserDeleted, id) };
            audit::record(&transaction, by, entry).await?;
            transaction.commit().await?;
            self.audited.recorded(Action::UserDeleted, 1);
            self.revoked.notify_one();
            Ok(Ok(()))
        })
        .await?
    }

    /// Gives a user a role, from the command line: the first admin has nobody to be made by.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn grant(&self, id: &Username, role: Role) -> Result<Account, ChangeError> {
        let change = AccountChange { role: Some(role), ..AccountChange::default() };
        self.change(id, &change, &Initiator::operator()).await
    }

    /// Sets a user's password, and ends all its logins.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_password(
        &self,
        user: &Username,
        password_hash: &str,
        by: &Initiator,
    ) -> Result<(), StoreError> {
        self.run(async |client| {
            let change = client.transaction().await?;
            let sql = "UPDATE users SET password_hash = $2 WHERE id = $1";
            change
                .execute_typed(sql, &[(&user.as_str(), Type::TEXT), (&password_hash, Type::TEXT)])
                .await?;
            let ended = revocations::revoke(&change, user).await?;
            let entry = Entry::new(Action::PasswordChanged, user).ends_logins(ended);
            audit::record(&change, by, entry).await?;
            idempotency::keep(&change, by, None).await?;
            change.commit().await?;
            self.audited.recorded(Action::PasswordChanged, 1);
            self.revoked.notify_one();
            Ok(())
        })
        .await
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        within_timeout(self.pool.get().await?, async |client| work(client).await).await
    }
}

/// The user, locked. Until the transaction's end no other transaction changes admins, so no two of
/// them remove the last two.
async fn lock(
    transaction: &Transaction<'_>,
    id: &Username,
) -> Result<Option<Row>, tokio_postgres::Error> {
    transaction.execute_typed("SELECT pg_advisory_xact_lock(hashtext('admins'))", &[]).await?;
    let sql = "SELECT id, name, role, created_at, disabled_at, \
               password_hash <> '' AS has_password FROM users \
               WHERE id = $1 AND deleted_at IS NULL FOR UPDATE";
    transaction.query_typed_opt(sql, &[(&id.as_str(), Type::TEXT)]).await
}

/// Whether the user is an admin who can log in with a password, if it has one.
fn is_admin(account: &Account) -> bool {
    account.role == Role::Admin && !account.is_disabled
}

async fn has_admin(transaction: &Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT EXISTS (SELECT FROM users \
               WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL \
               AND password_hash <> '')";
    transaction.query_typed_one(sql, &[]).await?.try_get(0)
}

fn role(row: &Row) -> Result<Role, StoreError> {
    let role: &str = row.try_get("role").map_err(StoreError::row)?;
    role.parse().map_err(StoreError::row)
}

fn account(row: &Row) -> Result<Account, StoreError> {
    let id: &str = row.try_get("id").map_err(StoreError::row)?;
    Ok(Account {
        id: id.parse().map_err(StoreError::row)?,
        name: row.try_get("name").map_err(StoreError::row)?,
        role: role(row)?,
        created_at: row.try_get("created_at").map_err(StoreError::row)?,
        is_disabled: row
            .try_get::<_, Option<jiff::Timestamp>>("disabled_at")
            .map_err(StoreError::row)?
            .is_some(),
    })
}

/// Deletes the invitation of a locked user, or just the one with this hash. Whether there was one.
async fn end_invitation(
    change: &Transaction<'_>,
    user: &Username,
    hash: Option<&[u8; 32]>,
) -> Result<bool, tokio_postgres::Error> {
    let sql = "DELETE FROM invitations WHERE user_id = $1 AND ($2::bytea IS NULL OR hash = $2)";
    let hash = hash.map(|hash| &hash[..]);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&user.as_str(), Type::TEXT), (&hash, Type::BYTEA)];
    Ok(change.execute_typed(sql, &parameters).await? == 1)
}
