//! Invitations, with which users without a password set one.

use proto_contracts::accounts::INVITATION_S;
use tokio_postgres::types::{ToSql, Type};

use super::{Accounts, account, end_invitation};
use crate::domain::account::{Account, Username};
use crate::domain::audit::{Action, Entry, Initiator};
use crate::domain::invitation::{Invitation, InvitationCode};
use crate::domain::outcome::Outcome;
use crate::store::{StoreError, audit, idempotency};

/// Why a user was not invited.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// There is no such user, or it is deleted.
    #[error("there is no such user")]
    NotFound,
    /// Whoever invites a user who has a password could take over the account.
    #[error("the user has a password")]
    HasPassword,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An invitation that can be used: of a user who may log in and has no password.
const USABLE: &str = "FROM invitations i JOIN users u ON u.id = i.user_id \
                      WHERE i.hash = $1 AND i.expires_at > now() AND u.password_hash = '' \
                      AND u.disabled_at IS NULL AND u.deleted_at IS NULL";

impl Accounts {
    /// Invites a user without a password. An earlier invitation of the user ends.
    ///
    /// # Errors
    /// See [`InviteError`].
    pub async fn invite(&self, id: &Username, by: &Initiator) -> Result<Invitation, InviteError> {
        let code = InvitationCode::generate();
        self.run(async |client| {
            let change = client.transaction().await?;
            let sql = "SELECT password_hash <> '' FROM users \
                       WHERE id = $1 AND deleted_at IS NULL FOR UPDATE";
            let found = change.query_typed_opt(sql, &[(&id.as_str(), Type::TEXT)]).await?;
            match found.map(|row| row.try_get::<_, bool>(0)).transpose()? {
                None => return Ok(Err(InviteError::NotFound)),
                Some(true) => return Ok(Err(InviteError::HasPassword)),
                Some(false) => {}
            }
            let sql = format!(
                "INSERT INTO invitations (user_id, hash, expires_at) \
                 VALUES ($1, $2, now() + interval '{INVITATION_S} seconds') \
                 ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, \
                 created_at = now(), expires_at = excluded.expires_at RETURNING expires_at"
            );
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&id.as_str(), Type::TEXT), (&&code.hash()[..], Type::BYTEA)];
            let expires_at = change.query_typed_one(&sql, &parameters).await?.try_get(0)?;
            audit::record(&change, by, Entry::new(Action::UserInvited, id)).await?;
            change.commit().await?;
            self.audited.recorded(Action::UserInvited, 1);
            Ok(Ok(Invitation { code, expires_at }))
        })
        .await?
    }

    /// The user whom this code invites, if it can be used.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn invited(&self, code: &InvitationCode) -> Result<Option<Account>, StoreError> {
        let found = self
            .run(async |client| {
                let sql =
                    format!("SELECT u.id, u.name, u.role, u.created_at, u.disabled_at {USABLE}");
                client.query_typed_opt(&sql, &[(&&code.hash()[..], Type::BYTEA)]).await
            })
            .await?;
        found.as_ref().map(account).transpose()
    }

    /// Uses an invitation: the user gets this password. `None` when the code cannot be used, such
    /// as one that was used meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accept_invitation(
        &self,
        code: &InvitationCode,
        password_hash: &str,
        by: &Initiator,
    ) -> Result<Option<Account>, StoreError> {
        self.run(async |client| {
            let change = client.transaction().await?;
            // First the user and then the invitation, as `invite` locks them.
            let sql = format!(
                "SELECT u.id, u.name, u.role, u.created_at, u.disabled_at {USABLE} FOR UPDATE OF u"
            );
            let hash = code.hash();
            let found = change.query_typed_opt(&sql, &[(&&hash[..], Type::BYTEA)]).await?;
            let found = match found.as_ref().map(account).transpose() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            };
            if !end_invitation(&change, &found.id, Some(&hash)).await? {
                return Ok(Ok(None));
            }
            let sql = "UPDATE users SET password_hash = $2 WHERE id = $1";
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&found.id.as_str(), Type::TEXT), (&password_hash, Type::TEXT)];
            change.execute_typed(sql, &parameters).await?;
            let entry = Entry::new(Action::InvitationAccepted, &found.id);
            audit::record(&change, &by.acting_as(&found.id), entry).await?;
            idempotency::keep(&change, by, Some(Outcome::Account(found.clone()))).await?;
            change.commit().await?;
            self.audited.recorded(Action::InvitationAccepted, 1);
            Ok(Ok(Some(found)))
        })
        .await?
    }

    /// Deletes expired invitations, and returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_expired_invitations(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM invitations WHERE expires_at < now()";
        self.run(async |client| client.execute_typed(sql, &[]).await).await
    }
}
