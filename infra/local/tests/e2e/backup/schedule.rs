//! Which backups are kept.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The names that are kept of these.
fn kept(names: &[String]) -> Result<Vec<String>> {
    let script = format!("{}/../backup/backup.sh", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(script)
        .arg("retained")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped")?.write_all(names.join("\n").as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success());
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// One a day at three o'clock, for two years.
fn two_years() -> Vec<String> {
    let mut names = Vec::new();
    for year in [2025, 2026] {
        for month in 1..=12 {
            let days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
            names.extend((1..=days).map(|day| format!("{year}{month:02}{day:02}T030000Z")));
        }
    }
    names
}

#[test]
fn thirty_daily_and_twelve_monthly_backups_are_kept() -> Result<()> {
    let all = two_years();
    let kept_of_all = kept(&all)?;
    let days = &all[all.len() - 30..];
    let months: Vec<_> = (1..=12).map(|month| format!("2026{month:02}01T030000Z")).collect();
    let expected = all.iter().filter(|name| days.contains(name) || months.contains(name));
    ensure!(kept_of_all == expected.cloned().collect::<Vec<_>>(), "{kept_of_all:?}");
    ensure!(kept_of_all.len() == 42);
    Ok(())
}

#[test]
fn pruning_day_by_day_keeps_the_same() -> Result<()> {
    // Each step is a process.
    let all = two_years().split_off(600);
    let mut present: Vec<String> = Vec::new();
    for name in &all {
        present.push(name.clone());
        present = kept(&present)?;
    }
    ensure!(present == kept(&all)?, "{present:?}");
    Ok(())
}

#[test]
fn gaps_and_bursts_lose_nothing_that_is_needed() -> Result<()> {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    // Years without a backup: what there is stays.
    let old = names(&["20200131T030000Z", "20230705T030000Z", "20261129T030000Z"]);
    ensure!(kept(&old)? == old);
    // Several of the last two days stay; of the days before, the last of each.
    let burst = names(&[
        "20261120T010000Z",
        "20261126T010000Z",
        "20261126T020000Z",
        "20261127T030000Z",
        "20261128T030000Z",
        "20261128T040000Z",
    ]);
    ensure!(kept(&burst)? == [&burst[..1], &burst[2..]].concat(), "{:?}", kept(&burst)?);
    ensure!(kept(&[])?.is_empty());
    Ok(())
}
