//! Backups in S3, encrypted, of files that are in S3.

use anyhow::{Result, ensure};

use super::{Backups, Ledger, SERVERS, SERVICES, archiving_stack, damage, destroy, start};
use crate::files::s3_server::S3Server;

#[tokio::test]
async fn a_backup_is_kept_in_s3() -> Result<()> {
    let (files, store) = (S3Server::start().await?, S3Server::start().await?);
    let mut plan = archiving_stack();
    for (name, value) in files.settings() {
        plan = plan.env("stateless-svc", name, value);
    }
    let stack = plan.start().await?;
    let mut backups = Backups::of(&stack)?;
    for (name, value) in files.settings() {
        backups.set(name, value);
    }
    for (name, value) in store.settings() {
        backups.set(&name.replace("FILES_", "BACKUP_"), value);
    }
    let (identity, recipient) = damage::key(backups.folder.path(), "key")?;
    backups.set("BACKUP_AGE_RECIPIENT", recipient);
    backups.set("BACKUP_AGE_IDENTITY_FILE", identity);

    let ledger = Ledger::write(&stack, 50, 10).await?;
    backups.run("backup", &["base"]).await?;
    backups.run("backup", &["create"]).await?;
    backups.run("backup", &["recent"]).await?;
    let daily = backups.newest("daily/").await?;
    backups.run("backup", &["verify", &daily]).await?;
    // The newest four of the recent ones stay.
    for _ in 0..4 {
        backups.run("backup", &["recent"]).await?;
    }
    let list = backups.run("backup", &["list"]).await?;
    let recent = list.lines().filter(|line| line.starts_with("recent/")).count();
    ensure!(recent == 4, "{list}");

    destroy(&stack).await?;
    std::fs::remove_dir_all(files.objects())?;
    start(&stack, &SERVERS).await?;
    backups.run("restore", &["all"]).await?;
    start(&stack, &SERVICES).await?;
    ledger.check(&stack).await?;
    stack.shutdown().await;
    Ok(())
}
