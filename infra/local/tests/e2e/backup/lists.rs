//! A list that could not be read is no empty one: a backup during which one fails deletes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{Backups, Ledger, archiving_stack, text};

/// `find`, which fails once.
const FIND: &str = r#"#!/usr/bin/env bash
set -euo pipefail
here=$(dirname "$0")
exec 8>"$here/lock"
flock 8
count=$(($(cat "$here/count") + 1))
echo "$count" >"$here/count"
exec 8>&-
[[ $count != "$LIST_THAT_FAILS" ]] || exit 1
PATH=${PATH//"$here:"/}
exec find "$@"
"#;

#[tokio::test]
async fn whichever_list_fails_nothing_is_deleted() -> Result<()> {
    let stack = archiving_stack().start().await?;
    let mut backups = Backups::of(&stack)?;
    Ledger::write(&stack, 3, 3).await?;
    backups.run("backup", &["create"]).await?;
    // One that is old, and complete: nothing but a list says so.
    let (store, newest) = (backups.store(), backups.newest("daily/").await?);
    let old = store.join("daily/20260101T030000Z");
    fs::create_dir(&old)?;
    for part in fs::read_dir(store.join(newest))? {
        let part = part?;
        fs::copy(part.path(), old.join(part.file_name()))?;
    }
    let before = files_below(&store)?;

    let folder = backups.folder.path().join("bin");
    fs::create_dir(&folder)?;
    fs::write(folder.join("find"), FIND)?;
    fs::set_permissions(folder.join("find"), fs::Permissions::from_mode(0o755))?;
    backups.set("PATH", format!("{}:{}", folder.display(), std::env::var("PATH")?));
    for failing in 1.. {
        fs::write(folder.join("count"), "0")?;
        backups.set("LIST_THAT_FAILS", failing.to_string());
        let output = backups.try_run("backup", &["create"]).await?;
        let after = files_below(&store)?;
        let lost: Vec<_> = before.difference(&after).collect();
        ensure!(lost.is_empty(), "list {failing} failed, and {lost:?} are gone: {}", text(&output));
        let lists: u32 = fs::read_to_string(folder.join("count"))?.trim().parse()?;
        if failing > lists {
            ensure!(output.status.success() && lists >= 10, "{lists} lists: {}", text(&output));
            break;
        }
        ensure!(!output.status.success(), "list {failing} failed unnoticed: {}", text(&output));
        for new in after.difference(&before) {
            fs::remove_file(new)?;
        }
    }
    stack.shutdown().await;
    Ok(())
}

fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => {
                found.insert(path);
            }
        }
    }
    Ok(found)
}
