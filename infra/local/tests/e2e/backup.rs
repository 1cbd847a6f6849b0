//! Backups by the scripts of `infra/backup`: what was acknowledged is back after everything was
//! destroyed, and a damaged backup changes nothing.

use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use anyhow::{Result, ensure};
use local_stack::{Plan, Stack};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::small_stack;
use ledger::Ledger;

mod damage;
mod ledger;
mod lists;
mod s3;
mod schedule;
mod wal;

/// Sessions, and rows, of the test that CI runs. `make drill-test` has 100,000, and 1,000 files.
const ROWS: usize = 300;
const FILES: usize = 20;

fn size(variable: &str, default: usize) -> Result<usize> {
    Ok(std::env::var(variable).map_or(Ok(default), |value| value.parse())?)
}

/// A stack whose sessions outlive the test, however large it is.
fn archiving_stack() -> Plan {
    small_stack().archive_wal().env("stateful-svc", "SESSION_IDLE_S", "14400")
}

/// The scripts, with a place for backups.
struct Backups {
    /// With a space in its name.
    folder: TempDir,
    env: Vec<(String, String)>,
}

impl Backups {
    fn of(stack: &Stack) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tandem backup ").tempdir()?;
        let path = folder.path().to_string_lossy().into_owned();
        std::fs::create_dir(folder.path().join("store"))?;
        let url = |path: &str| format!("file://{}", path.replace(' ', "%20"));
        let env = [
            ("DATABASE_URL", stack.database_url().expose_secret().to_owned()),
            ("BACKUP_REPLICATION_URL", stack.replication_url().expose_secret().to_owned()),
            ("SESSION_REDIS_URL", stack.redis_sessions_url_for_services()),
            ("TLS_CA_FILE", stack.ca_path().to_string_lossy().into_owned()),
            ("FILES_URL", url(&stack.files().to_string_lossy())),
            ("BACKUP_URL", url(&format!("{path}/store"))),
            ("BACKUP_WORK_DIR", format!("{path}/work")),
            ("TEXTFILE_DIR", format!("{path}/metrics")),
            (
                "WAL_ARCHIVE_DIR",
                stack.database_folder().with_file_name("wal").to_string_lossy().into_owned(),
            ),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Ok(Self { folder, env })
    }

    /// The same, with another value of a variable.
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn metric(&self, name: &str) -> Result<String> {
        let mut found = String::new();
        for entry in std::fs::read_dir(self.folder.path().join("metrics"))? {
            let text = std::fs::read_to_string(entry?.path())?;
            found.extend(text.lines().filter(|line| line.starts_with(name)));
        }
        Ok(found)
    }

    async fn try_run(&self, script: &str, arguments: &[&str]) -> Result<Output> {
        let script = format!("{}/../backup/{script}.sh", env!("CARGO_MANIFEST_DIR"));
        let mut command = tokio::process::Command::new(script);
        command.args(arguments).envs(self.env.iter().cloned()).kill_on_drop(true);
        Ok(command.output().await?)
    }

    /// Returns what it printed.
    async fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(script, arguments).await?;
        let text = text(&output);
        ensure!(output.status.success(), "{script} {arguments:?}: {text}");
        eprint!("{text}");
        Ok(text)
    }

    /// It must fail, and say this.
    async fn fails(&self, script: &str, arguments: &[&str], cause: &str) -> Result<()> {
        let output = self.try_run(script, arguments).await?;
        let text = text(&output);
        ensure!(!output.status.success(), "{script} {arguments:?} succeeded: {text}");
        ensure!(text.contains(cause), "{script} {arguments:?} does not say '{cause}': {text}");
        Ok(())
    }

    /// The newest backup of a kind.
    async fn newest(&self, kind: &str) -> Result<String> {
        let list = self.run("backup", &["list"]).await?;
        let mut complete =
            list.lines().filter(|line| line.starts_with(kind) && !line.contains(' '));
        Ok(complete.next_back().unwrap_or_default().to_owned())
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// The services first, so that they see no empty database.
const SERVICES: [&str; 4] = ["stateless-1", "stateful-1", "stateful-2", "stateful-3"];
const SERVERS: [&str; 3] = ["postgres", "redis-sessions", "redis-cache"];

/// Kills everything that holds data, and deletes it.
async fn destroy(stack: &Stack) -> Result<()> {
    for component in SERVICES.into_iter().chain(SERVERS) {
        stack.kill(component).await?;
    }
    std::fs::remove_dir_all(stack.database_folder())?;
    for folder in [stack.state_dir().join("redis-sessions"), stack.files()] {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => std::fs::remove_dir_all(path)?,
                false => std::fs::remove_file(path)?,
            }
        }
    }
    Ok(())
}

async fn start(stack: &Stack, components: &[&str]) -> Result<()> {
    for component in components {
        stack.start_component(component).await?;
    }
    Ok(())
}

/// The drill of issue 23: everything that was acknowledged before the backup is there after all
/// data was destroyed.
#[tokio::test]
async fn what_was_acknowledged_is_restored() -> Result<()> {
    let (rows, files) = (size("BACKUP_ROWS", ROWS)?, size("BACKUP_FILES", FILES)?);
    let stack = archiving_stack().start().await?;
    let mut backups = Backups::of(&stack)?;
    let ledger = Ledger::write(&stack, rows, files).await?;
    backups.run("backup", &["base"]).await?;
    let begin = Instant::now();
    backups.run("backup", &["create"]).await?;
    let backed_up = begin.elapsed();
    // A second one copies no file again, and takes over what the first did not have.
    let later = ledger.user.upload("later", "later").await?;
    backups.run("backup", &["recent"]).await?;
    for port in ["DRILL_POSTGRES_PORT", "DRILL_REDIS_PORT"] {
        backups.set(port, stack.ports().spare()?.to_string());
    }
    let drilled = backups.run("drill", &[]).await?;
    ensure!(
        drilled.contains(&format!("{files} files have the SHA-256 of their rows")),
        "{drilled}"
    );
    ensure!(drilled.contains("The drill succeeded. RPO:"), "{drilled}");
    ensure!(!backups.metric("tandem_drill_last_success_timestamp_seconds")?.is_empty());

    destroy(&stack).await?;
    start(&stack, &SERVERS).await?;
    let begin = Instant::now();
    let restored = backups.run("restore", &["all"]).await?;
    let recovered = begin.elapsed();
    ensure!(restored.contains(&format!("files: {files} restored")), "{restored}");
    // Nothing is overwritten without a word.
    backups.fails("restore", &["all"], "--force replaces them").await?;
    start(&stack, &SERVICES).await?;
    ledger.check(&stack).await?;
    let lost = ledger.user.content(&later.id, &[]).await?;
    assert_eq!(lost.status, 404, "it was acknowledged after the backup: {lost}");
    eprintln!(
        "{rows} sessions and {rows} rows and {files} files: backed up in {:.1} s, restored in {:.1} s",
        backed_up.as_secs_f64(),
        recovered.as_secs_f64()
    );
    // With --force it replaces what has come since.
    for component in SERVICES {
        stack.kill(component).await?;
    }
    backups.run("restore", &["all", "--force"]).await?;
    start(&stack, &SERVICES).await?;
    ledger.check(&stack).await?;
    stack.shutdown().await;
    Ok(())
}
