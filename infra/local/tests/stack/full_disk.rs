//! A full disk ends Redis; the supervisor starts it again by itself, as containers do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use local_stack::SmallDisk;
use reqwest::StatusCode;
use serde_json::json;

use crate::command_line::Installation;
use crate::distrustful_client;

/// Far longer than a restart with its back-off takes.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn redis_is_there_again_when_its_disk_has_room() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("not tried: mounting a small disk takes root");
        return Ok(());
    }
    let installation = Installation::new()?;
    let disk = SmallDisk::mount(&installation.state().join("redis-sessions"), 32)?;
    installation.up()?;
    let client = distrustful_client()?;
    let sessions = format!("http://127.0.0.1:{}/api/v1/stateful/sessions", 8000 + installation.offset);
    let create = async || anyhow::Ok(client.post(&sessions).json(&json!({})).send().await?.status());
    ensure!(create().await? == StatusCode::CREATED);

    disk.fill()?;
    // What is left of the file's last page is room, too: some more fit in.
    let mut status = StatusCode::CREATED;
    for _ in 0..100 {
        status = create().await?;
        if status != StatusCode::CREATED {
            break;
        }
    }
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    disk.free()?;
    let begun = Instant::now();
    while create().await? != StatusCode::CREATED {
        ensure!(begun.elapsed() < BOUND, "no session after {} s", BOUND.as_secs());
    }
    let log = std::fs::read_to_string(installation.state().join("logs/supervisor.log"))?;
    ensure!(log.contains("redis-sessions has ended by itself"), "{log}");
    drop(installation);
    Ok(())
}
