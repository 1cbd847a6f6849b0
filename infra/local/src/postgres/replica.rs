//! The standby of PostgreSQL: a streaming copy of the primary. Each start of the stack takes a new
//! copy, so that it never lacks what the primary has discarded meanwhile.

use std::fs;
use std::io;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::{Programs, await_old_server, make_folder, run, server};
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::process::Launch;
use crate::settings::{REPLICATION_ROLE, Settings};

fn folder(settings: &Settings) -> PathBuf {
    settings.shared.join("postgres-replica")
}

/// Removes the copy of an earlier start.
pub(crate) fn discard(settings: &Settings) -> Result<(), StackError> {
    let folder = folder(settings);
    await_old_server(&folder.join("data"))?;
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).attempt(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// How the standby is started; copies the running primary if there is no copy yet.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let programs = Programs::find()?;
    let data = folder(settings).join("data");
    if !data.join("PG_VERSION").exists() {
        make_folder(&folder(settings), programs.run_as)?;
        // Left by an interrupted attempt.
        let (copy, password) = (data.with_extension("copy"), &settings.secrets.database_password);
        let _ = fs::remove_dir_all(&copy);
        let mut backup = programs.command(&programs.postgres.with_file_name("pg_basebackup"));
        backup.env("PGPASSWORD", password.expose_secret());
        backup.args(["--host=127.0.0.1", "--no-password", "--checkpoint=fast", "--no-sync"]);
        // `--write-recovery-conf` makes it a standby, with the password in its settings.
        backup.args(["--wal-method=stream", "--write-recovery-conf"]);
        backup.arg(format!("--port={}", settings.ports.postgres));
        backup.arg(format!("--username={REPLICATION_ROLE}")).arg("--pgdata").arg(&copy);
        run("pg_basebackup", backup, "")?;
        fs::rename(&copy, &data).attempt(|| format!("make {}", data.display()))?;
    }
    await_old_server(&data)?;
    Ok(server(settings, programs, &data, Component::PostgresReplica))
}
