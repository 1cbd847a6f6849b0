//! The first admin of a kept stack.

use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret as _;
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

async fn run(settings: &Settings) -> Result<std::process::Output, StackError> {
    let file = admin_password_file(&settings.state);
    secrets::load_or_make(&file)?;
    let mut command = Command::new(settings.builds.binary("stateless-svc")?);
    command.args(["user", "create", ADMIN, "--role=admin", "--password-file"]).arg(&file);
    // Not the environment of `make up`, whose settings are for services.
    command.env_clear().env("DATABASE_URL", settings.database_url().expose_secret());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(TIMEOUT, command.output()).await;
    done.map_err(std::io::Error::other).flatten().attempt(|| "create the admin".to_owned())
}
