//! Backups that are damaged, incomplete, foreign or in the way: nothing is changed by them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Backups, Ledger, archiving_stack, text};

/// What is said, where the damaged copy is, and the damage.
type Case<'a> = (&'static str, PathBuf, Box<dyn Fn(&Path) -> Result<()> + 'a>);

/// Copies the place of backups to a new one, damages it, and returns it.
fn damaged(store: &Path, to: &Path, damage: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
    let copied = Command::new("cp").arg("--archive").arg(store).arg(to).status()?;
    ensure!(copied.success());
    damage(to)?;
    Ok(format!("file://{}", to.to_str().context("text")?.replace(' ', "%20")))
}

fn flip(file: &Path, at: usize) -> Result<()> {
    let mut content = fs::read(file)?;
    let at = at.min(content.len() - 1);
    content[at] ^= 1;
    Ok(fs::write(file, content)?)
}

/// By more than the end of the last line.
fn truncate(file: &Path) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(file)?;
    Ok(file.set_len(file.metadata()?.len() - 2)?)
}

/// A pair of keys: the identity's file, and the recipient.
pub(super) fn key(folder: &Path, name: &str) -> Result<(String, String)> {
    let file = folder.join(name);
    let made = Command::new("age-keygen").arg("-o").arg(&file).output().context("age-keygen")?;
    ensure!(made.status.success(), "{}", text(&made));
    let identity = fs::read_to_string(&file)?;
    let line = identity.lines().find_map(|line| line.strip_prefix("# public key: "));
    Ok((file.to_str().context("text")?.to_owned(), line.context("a key")?.to_owned()))
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() -> Result<()> {
    let stack = archiving_stack().start().await?;
    let mut backups = Backups::of(&stack)?;
    let (identity, recipient) = key(backups.folder.path(), "right key")?;
    let (wrong, _) = key(backups.folder.path(), "wrong key")?;
    backups.set("BACKUP_AGE_RECIPIENT", recipient);
    let ledger = Ledger::write(&stack, 5, 3).await?;
    backups.run("backup", &["create"]).await?;
    backups.run("backup", &["base"]).await?;
    let (daily, base) = (backups.newest("daily/").await?, backups.newest("base/").await?);
    let store = backups.store();
    for file in super::super::files::stored(&store)? {
        let is_list = ["MANIFEST", "files.list.gz", "files.gone"].contains(&&*file);
        ensure!(is_list || file.ends_with(".age"), "{file} is not encrypted");
    }
    backups.run("backup", &["verify", &daily]).await?;
    backups.run("backup", &["verify", &base]).await?;

    // Without the key, and with another one.
    let restore = ["all", "--force", &daily];
    backups.fails("restore", &restore, "set BACKUP_AGE_IDENTITY_FILE").await?;
    backups.set("BACKUP_AGE_IDENTITY_FILE", wrong);
    backups.fails("restore", &restore, "cannot be decrypted").await?;
    backups.set("BACKUP_AGE_IDENTITY_FILE", identity);

    let own = backups.store();
    let copy = |name: &str| backups.folder.path().join(name);
    let in_daily = |store: &Path, part: &str| store.join(&daily).join(part);
    let cases: Vec<Case<'_>> = vec![
        ("differs", copy("a"), Box::new(|s| truncate(&in_daily(s, "database.dump.age")))),
        ("differs", copy("b"), Box::new(|s| flip(&in_daily(s, "sessions.rdb.age"), 100))),
        (
            "is missing",
            copy("c"),
            Box::new(|s| Ok(fs::remove_file(in_daily(s, "sessions.rdb.age"))?)),
        ),
        (
            "no complete backup",
            copy("d"),
            Box::new(|s| Ok(fs::remove_file(in_daily(s, "MANIFEST"))?)),
        ),
        ("manifest", copy("e"), Box::new(|s| truncate(&in_daily(s, "MANIFEST")))),
        ("manifest", copy("f"), Box::new(|s| flip(&in_daily(s, "MANIFEST"), 60))),
    ];
    let mut urls = Vec::new();
    for (cause, to, damage) in cases {
        urls.push((cause, damaged(&own, &to, damage)?));
    }
    let url = format!("file://{}", own.to_string_lossy().replace(' ', "%20"));
    for (cause, damaged) in urls {
        backups.set("BACKUP_URL", damaged);
        backups.fails("restore", &restore, cause).await?;
        backups.fails("backup", &["verify", &daily], cause).await?;
    }
    ledger.check(&stack).await?;

    // A part of a file's content that is damaged is noticed, too.
    let broken = backups.folder.path().join("g");
    let damaged = damaged(&own, &broken, |store| {
        let file = fs::read_dir(store.join("files"))?.next().context("a folder")??.path();
        flip(&fs::read_dir(file)?.next().context("a file")??.path(), 300)
    })?;
    backups.set("BACKUP_URL", damaged);
    backups.set("FILES_URL", format!("file://{}", copy_of(&backups, "empty")?));
    backups.fails("restore", &["files"], "cannot be decrypted").await?;
    backups.set("BACKUP_URL", url);
    backups.run("restore", &["files"]).await?;
    stack.shutdown().await;
    Ok(())
}

fn copy_of(backups: &Backups, name: &str) -> Result<String> {
    let folder = backups.folder.path().join(name);
    fs::create_dir(&folder)?;
    Ok(folder.to_string_lossy().replace(' ', "%20"))
}

/// A backup that cannot be ended never looks complete, and one at a time is made.
#[tokio::test]
async fn a_backup_that_breaks_off_is_not_one() -> Result<()> {
    let stack = archiving_stack().start().await?;
    let mut backups = Backups::of(&stack)?;
    let ledger = Ledger::write(&stack, 3, 2).await?;
    // The lock, as a running one holds it.
    let script = format!(
        "{}/../backup/backup.sh list >&2; cd \"$BACKUP_WORK_DIR\"; \
         name=$(printf %s \"$BACKUP_URL\" | sha256sum | cut -c 1-16); \
         exec 9>\"$name.lock\"; flock 9; echo locked; read -r _",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut holder = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .envs(backups.env.iter().cloned())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = [0; 6];
    tokio::io::AsyncReadExt::read_exact(holder.stdout.as_mut().context("piped")?, &mut line)
        .await?;
    let second = backups.try_run("backup", &["create"]).await?;
    ensure!(second.status.code() == Some(75), "{}", text(&second));
    holder.kill().await?;

    // Redis is gone in the middle.
    stack.stop("redis-sessions").await?;
    backups.fails("backup", &["create"], "Redis sent no snapshot").await?;
    stack.start_component("redis-sessions").await?;
    // The place is full. /dev/full would be a device; a small file system is what fills up.
    let disk = backups.folder.path().join("disk");
    fs::create_dir(&disk)?;
    if is_root() {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "none"])
            .arg(&disk)
            .status()?;
        ensure!(mounted.success());
        let own = backups.store().to_string_lossy().replace(' ', "%20");
        backups.set("BACKUP_URL", format!("file://{}", disk.to_string_lossy().replace(' ', "%20")));
        let full = backups.fails("backup", &["create"], "No space left").await;
        let list = backups.run("backup", &["list"]).await;
        Command::new("umount").arg(&disk).status()?;
        full?;
        ensure!(list?.lines().all(|line| line.ends_with("incomplete")));
        backups.set("BACKUP_URL", format!("file://{own}"));
    }
    ensure!(!backups.folder.path().join("metrics").exists(), "none of them was a success");
    fs::set_permissions(backups.folder.path(), fs::Permissions::from_mode(0o700))?;

    // A file that is gone from the store does not stop the backup; it is counted.
    backups.run("backup", &["create"]).await?;
    let metric = backups.metric("tandem_backup_missing_files")?;
    ensure!(metric.ends_with(" 0"), "{metric}");
    let shard = fs::read_dir(stack.files())?.next().context("a folder")??.path();
    let content = fs::read_dir(&shard)?.next().context("a file")??.path();
    let kept = fs::read(&content)?;
    fs::remove_file(&content)?;
    fs::remove_dir_all(backups.store().join("files"))?;
    let warned = backups.run("backup", &["create"]).await?;
    ensure!(warned.contains("lacks the content of 1 files"), "{warned}");
    let metric = backups.metric("tandem_backup_missing_files")?;
    ensure!(metric.ends_with(" 1"), "{metric}");
    fs::write(&content, kept)?;
    ledger.check(&stack).await?;
    stack.shutdown().await;
    Ok(())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
