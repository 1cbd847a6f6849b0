//! The secrets of one state folder: generated once, readable by their owner alone, never logged.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Attempt, StackError};

/// The secrets of one stack.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Token of the gateway's control API.
    pub(crate) control_token: SecretString,
    /// Token that instances require of a gateway that drains them.
    pub(crate) instance_token: SecretString,
    /// Token of the traffic driver.
    pub(crate) driver_token: SecretString,
    /// The services' password for PostgreSQL.
    pub(crate) database_password: SecretString,
    /// Key from which the stateful instances derive session ids.
    pub(crate) session_id_secret: SecretString,
    /// Key of the fingerprints that the stateless instances keep of requests.
    pub(crate) idempotency_secret: SecretString,
}

impl Secrets {
    /// Reads the secrets of a state folder; generates missing ones.
    pub(crate) fn load(state: &Path) -> Result<Self, StackError> {
        Ok(Self {
            control_token: load_or_make(&control_token_file(state))?,
            instance_token: load_or_make(&state.join("instance.token"))?,
            driver_token: load_or_make(&state.join("driver.token"))?,
            database_password: load_or_make(&state.join("postgres.password"))?,
            session_id_secret: load_or_make(&state.join("session-id.secret"))?,
            idempotency_secret: load_or_make(&state.join("idempotency.secret"))?,
        })
    }
}

/// File of the gateway's control token.
pub(crate) fn control_token_file(state: &Path) -> PathBuf {
    state.join("control.token")
}

/// File of the agent's token.
pub(crate) fn agent_token_file(state: &Path) -> PathBuf {
    state.join("agent.token")
}

/// File of the first admin's password.
pub(crate) fn admin_password_file(state: &Path) -> PathBuf {
    state.join("admin.password")
}

/// Reads a secret.
pub(crate) fn load(path: &Path) -> io::Result<SecretString> {
    Ok(SecretString::from(fs::read_to_string(path)?.trim().to_owned()))
}

/// Reads the secret, or generates one of 256 random bits in hex digits.
pub(crate) fn load_or_make(path: &Path) -> Result<SecretString, StackError> {
    match load(path) {
        Ok(secret) if !secret.expose_secret().is_empty() => return Ok(secret),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(StackError::Io { what: format!("read {}", path.display()), source });
        }
    }
    let secret: String =
        rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, format!("{secret}\n").as_bytes())
        .attempt(|| format!("write {}", path.display()))?;
    Ok(SecretString::from(secret))
}

/// Writes a file that only its owner can read, whatever the umask.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // A new file each time: an older one may have other permissions.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_generated_once_and_are_private() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let first = Secrets::load(dir.path()).expect("made");
        let again = Secrets::load(dir.path()).expect("read");
        assert_eq!(first.control_token.expose_secret(), again.control_token.expose_secret());
        assert_ne!(first.control_token.expose_secret(), first.database_password.expose_secret());
        assert_eq!(first.control_token.expose_secret().len(), 64);
        let file = control_token_file(dir.path());
        assert_eq!(fs::metadata(file).expect("exists").permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(first.control_token.expose_secret()));
    }
}
