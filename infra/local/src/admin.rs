//! The first admin of a kept stack, and the roles of other users.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use proto_contracts::Role;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use crate::error::{Attempt as _, StackError};
use crate::secrets::{self, admin_password_file};
use crate::settings::Settings;

/// Its username.
const ADMIN: &str = "admin";
/// Limit for the command that creates it; it waits for the tables.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The command's exit status when the user exists with another password.
const EX_CANTCREAT: i32 = 73;

/// Creates the admin unless it exists, by the command that operators have. Its password is in a
/// file of the state folder. Returns what to report, which never fails a start.
pub(crate) async fn create(settings: &Settings) -> Option<String> {
    let file = admin_password_file(&settings.state);
    let had_file = file.exists();
    let output = match run(settings).await {
        Ok(output) => output,
        Err(error) => return Some(format!("no admin was created: {error}")),
    };
    match output.status.code() {
        Some(0) if had_file => None,
        Some(0) => Some(format!("created {ADMIN}; its password is in {}", file.display())),
        // It was changed.
        Some(EX_CANTCREAT) if had_file => None,
        code => {
            // Not the password of this user, then.
            if code == Some(EX_CANTCREAT) {
                let _gone = std::fs::remove_file(&file);
            }
            let fault = String::from_utf8_lossy(&output.stderr);
            Some(format!("no admin was created: {}", fault.trim_end()))
        }
    }
}

/// The admin of a running system with this state folder, and its password, if it was created.
pub fn admin_of(state: &Path) -> Option<(String, SecretString)> {
    let password = secrets::load(&admin_password_file(state)).ok()?;
    Some((ADMIN.to_owned(), password))
}

/// Gives a registered user a role, by the command that operators have.
pub(crate) async fn grant(
    settings: &Settings,
    username: &str,
    role: Role,
) -> Result<(), StackError> {
    let mut command = Command::new(settings.builds.binary("stateless-svc")?);
    command.args(["user", "grant", username, role.as_str()]);
    let output = finish(settings, command).await?;
    let fault = || io::Error::other(String::from_utf8_lossy(&output.stderr).trim_end().to_owned());
    let granted = if output.status.success() { Ok(()) } else { Err(fault()) };
    granted.attempt(|| format!("grant {username} the role {role}"))
}

async fn run(settings: &Settings) -> Result<Output, StackError> {
    let file = admin_password_file(&settings.state);
    secrets::load_or_make(&file)?;
    let mut command = Command::new(settings.builds.binary("stateless-svc")?);
    command.args(["user", "create", ADMIN, "--role=admin", "--password-file"]).arg(&file);
    finish(settings, command).await
}

async fn finish(settings: &Settings, mut command: Command) -> Result<Output, StackError> {
    // Not the environment of `make up`, whose settings are for services.
    command.env_clear().env("DATABASE_URL", settings.database_url().expose_secret());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(TIMEOUT, command.output()).await;
    done.map_err(io::Error::other).flatten().attempt(|| "run stateless-svc".to_owned())
}
