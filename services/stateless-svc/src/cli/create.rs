//! `user create`: a user with a role, by the operator.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto_contracts::Role;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::account::{DisplayName, Password, Username};
use crate::domain::audit::Initiator;
use crate::passwords::PasswordHasher;
use crate::store::StoreError;
use crate::store::accounts::{Accounts, RegisterError};

/// How long the database may be away, or its tables missing: the services of a new installation
/// make them as they start.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The user to create.
pub(super) struct NewUser {
    pub(super) username: Username,
    pub(super) role: Role,
    pub(super) name: Option<DisplayName>,
}

/// Why a user was not created.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreateError {
    #[error("the username {0} is taken, and its password is another")]
    Taken(Username),
}

/// The password in this file, without the line's end.
pub(super) fn read_password(path: &Path) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

/// Registers the user and gives it the role. A user of this name and password just gets the role:
/// an earlier attempt may have ended in between.
pub(super) async fn create(
    accounts: &Accounts,
    new: &NewUser,
    password: &SecretString,
) -> anyhow::Result<()> {
    let id = &new.username;
    let name = match &new.name {
        Some(name) => name.clone(),
        None => id.as_str().parse()?,
    };
    let chosen = Password::chosen(password.expose_secret(), id, name.as_str())?;
    let passwords = PasswordHasher::new(NonZeroUsize::MIN)?;
    let hash = passwords.hash(chosen.clone()).await?;
    let begin = Instant::now();
    let registered = loop {
        match accounts.register(id, &name, &hash, &Initiator::operator()).await {
            Err(RegisterError::Store(error)) if may_retry(&error, begin) => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            result => break result,
        }
    };
    let account = match registered {
        Ok(account) => account,
        Err(RegisterError::Taken) => {
            let found = accounts.find(id).await?.ok_or_else(|| CreateError::Taken(id.clone()))?;
            if !passwords.verify(chosen, found.password_hash).await? {
                return Err(CreateError::Taken(id.clone()).into());
            }
            found.account
        }
        Err(RegisterError::Store(error)) => return Err(error.into()),
    };
    if account.role != new.role {
        accounts.grant(id, new.role).await?;
    }
    Ok(())
}

fn may_retry(error: &StoreError, begin: Instant) -> bool {
    error.is_outage() && begin.elapsed() < OUTAGE_TIMEOUT
}
