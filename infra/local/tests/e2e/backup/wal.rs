//! The archived WAL: what a lost data folder loses, and a moment before a mistake.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio_postgres::Client;

use super::{Backups, SERVICES, archiving_stack, start};
use crate::accounts::database;
use crate::until::until;

/// Rows of each part of the test.
const ROWS: i32 = 200;

/// Commits rows one by one, and returns the position of the WAL after each.
async fn commit(database: &Client, rows: std::ops::Range<i32>) -> Result<Vec<(i32, String)>> {
    let mut acknowledged = Vec::new();
    for row in rows {
        database.execute("INSERT INTO ledger VALUES ($1)", &[&row]).await?;
        let position = database.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?;
        acknowledged.push((row, position.get(0)));
    }
    Ok(acknowledged)
}

/// Ends the segment, and waits until it is archived.
async fn archived(database: &Client) -> Result<()> {
    let sql = "SELECT pg_walfile_name(pg_switch_wal())";
    let segment: String = database.query_one(sql, &[]).await?.get(0);
    until("the segment is archived", || async {
        let sql = "SELECT last_archived_wal >= $1 FROM pg_stat_archiver";
        let row = database.query_one(sql, &[&segment]).await?;
        Ok(row.get::<_, Option<bool>>(0).unwrap_or_default().then_some(()))
    })
    .await
}

async fn recovered(database: &Client) -> Result<()> {
    until("the recovery has ended", || async {
        let row = database.query_one("SELECT pg_is_in_recovery()", &[]).await?;
        Ok((!row.get::<_, bool>(0)).then_some(()))
    })
    .await
}

async fn rows(database: &Client) -> Result<Vec<i32>> {
    let rows = database.query("SELECT number FROM ledger ORDER BY number", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The position at which the last archived segment ends: all before it is archived.
fn archived_until(wal: &Path) -> Result<u64> {
    // initdb --wal-segsize=4
    const SEGMENT: u64 = 4 << 20;
    let mut last = 0;
    for entry in std::fs::read_dir(wal)? {
        let name = entry?.file_name().into_string().ok().context("text")?;
        let Some(segment) = name.strip_suffix(".gz").filter(|name| name.len() == 24) else {
            continue;
        };
        let high = u64::from_str_radix(&segment[8..16], 16)?;
        let low = u64::from_str_radix(&segment[16..], 16)?;
        last = last.max((high << 32) + (low + 1) * SEGMENT);
    }
    Ok(last)
}

fn remove_the_segment_before_the_last(store: &Path) -> Result<()> {
    let wal = std::fs::read_dir(store.join("wal"))?.next().context("a system")??.path();
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(wal)? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let (segment, _) = name.split_once('-').context("a name and its checksum")?;
        if segment.len() == 24 {
            segments.push((segment.to_owned(), path));
        }
    }
    segments.sort();
    let place = segments.len().checked_sub(2).context("two segments")?;
    Ok(std::fs::remove_file(&segments[place].1)?)
}

fn position(lsn: &str) -> Result<u64> {
    let (high, low) = lsn.split_once('/').context("a position")?;
    Ok((u64::from_str_radix(high, 16)? << 32) + u64::from_str_radix(low, 16)?)
}

/// `kill -9` of PostgreSQL, and its data folder is gone: at most what the last unarchived segment
/// holds is lost. Then a moment before a mistake is restored.
#[tokio::test]
async fn a_lost_data_folder_loses_one_segment_at_most() -> Result<()> {
    let stack = archiving_stack().start().await?;
    let mut backups = Backups::of(&stack)?;
    let data = stack.database_folder();
    let folder = data.to_str().context("a path")?.to_owned();
    let client = database(&stack).await?;
    client.execute("CREATE TABLE ledger (number int PRIMARY KEY)", &[]).await?;
    let mut acknowledged = commit(&client, 0..ROWS).await?;
    backups.run("backup", &["base"]).await?;
    acknowledged.extend(commit(&client, ROWS..2 * ROWS).await?);
    archived(&client).await?;
    // Some is in the store, some only where PostgreSQL put it, some only in the data folder.
    backups.run("backup", &["recent"]).await?;
    acknowledged.extend(commit(&client, 2 * ROWS..3 * ROWS).await?);
    archived(&client).await?;
    acknowledged.extend(commit(&client, 3 * ROWS..4 * ROWS).await?);

    for component in SERVICES.into_iter().chain(["postgres"]) {
        stack.kill(component).await?;
    }
    std::fs::remove_dir_all(&data)?;
    backups.run("restore", &["data-folder", &folder]).await?;
    let wal = data.with_file_name("data.wal");
    let until = archived_until(&wal)?;
    start(&stack, &["postgres"]).await?;
    let client = database(&stack).await?;
    recovered(&client).await?;
    let found = rows(&client).await?;
    let mut lost = 0;
    for (at, (row, lsn)) in acknowledged.iter().enumerate() {
        let is_there = found.get(at) == Some(row);
        ensure!(is_there || position(lsn)? > until, "row {row} at {lsn} was archived, and is lost");
        lost += usize::from(!is_there);
    }
    ensure!(found.len() + lost == acknowledged.len(), "{found:?}");
    ensure!(found.len() >= 3 * usize::try_from(ROWS)?, "{} rows", found.len());
    eprintln!("{} rows were acknowledged; {lost} of the last segment are lost", acknowledged.len());

    // A restored server is no copy: it goes on in a timeline of its own, and archives that.
    let before = commit(&client, 10_000..10_010).await?;
    let moment: String = client.query_one("SELECT clock_timestamp()::text", &[]).await?.get(0);
    client.execute("DELETE FROM ledger", &[]).await?;
    commit(&client, 20_000..20_010).await?;
    archived(&client).await?;
    backups.run("backup", &["recent"]).await?;
    drop(client);
    stack.stop("postgres").await?;
    backups.fails("restore", &["data-folder", &folder], "is not empty; --force").await?;
    backups
        .run("restore", &["data-folder", &folder, "--force", &format!("--time={moment}")])
        .await?;
    start(&stack, &["postgres"]).await?;
    let client = database(&stack).await?;
    recovered(&client).await?;
    let now = rows(&client).await?;
    let expected: Vec<i32> =
        found.into_iter().chain(before.into_iter().map(|(row, _)| row)).collect();
    ensure!(now == expected, "{now:?}");

    // A base of the restored server does not keep the moment: everything since is restored.
    backups.run("backup", &["base"]).await?;
    commit(&client, 30_000..30_010).await?;
    archived(&client).await?;
    commit(&client, 40_000..40_001).await?;
    archived(&client).await?;
    drop(client);
    stack.stop("postgres").await?;
    // A moment before that base is reached from the one before.
    let earlier = ["data-folder", &folder, "--force", &format!("--time={moment}")];
    let newest = backups.newest("base/").await?;
    let by_newest = format!("--base={newest}");
    let of_newest = [&earlier[..], &[&by_newest]].concat();
    backups.fails("restore", &of_newest, "was made after").await?;
    let restored = backups.run("restore", &earlier).await?;
    ensure!(!restored.contains(&newest), "{restored}");
    let long_ago = ["data-folder", &folder, "--force", "--time=2020-01-01 00:00:00+00"];
    backups.fails("restore", &long_ago, "no base backup is older").await?;
    backups.run("restore", &["data-folder", &folder, "--force"]).await?;
    start(&stack, &["postgres"]).await?;
    let client = database(&stack).await?;
    recovered(&client).await?;
    let expected = expected.into_iter().chain(30_000..30_010).chain([40_000]);
    let now = rows(&client).await?;
    ensure!(now == expected.collect::<Vec<_>>(), "{now:?}");
    drop(client);

    // The drill sees a gap, where recovery ends without an error.
    for port in ["DRILL_POSTGRES_PORT", "DRILL_REDIS_PORT"] {
        backups.set(port, stack.ports().spare()?.to_string());
    }
    start(&stack, &SERVICES).await?;
    backups.run("backup", &["create"]).await?;
    backups.run("backup", &["recent"]).await?;
    backups.run("drill", &[]).await?;
    remove_the_segment_before_the_last(&backups.store())?;
    backups.fails("drill", &[], "the archived WAL has a gap").await?;
    stack.shutdown().await;
    Ok(())
}
