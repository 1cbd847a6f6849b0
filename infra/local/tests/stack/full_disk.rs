//! Redis exits when its disk is full; the supervisor restarts it, as container runtimes do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use local_stack::SmallDisk;
use reqwest::StatusCode;
use serde_json::json;

use crate::client_without_ca;
use crate::command_line::Installation;

/// Far longer than a restart with its back-off takes.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn redis_is_restarted_when_its_disk_has_space() -> Result<()> {
    // CI runs as root.
    if !SmallDisk::may_mount() {
        eprintln!("skipped: mounting a small disk requires root");
        return Ok(());
    }
    let installation = Installation::new()?;
    let disk = SmallDisk::mount(&installation.state().join("redis-sessions"), 32)?;
    installation.up()?;
    let client = client_without_ca()?;
    let sessions =
        format!("http://127.0.0.1:{}/api/v1/stateful/sessions", 8000 + installation.offset);
    let create =
        async || anyhow::Ok(client.post(&sessions).json(&json!({})).send().await?.status());
    ensure!(create().await? == StatusCode::CREATED);

    disk.fill()?;
    // The file's last page has space left for some more.
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
    ensure!(log.contains("redis-sessions exited unexpectedly"), "{log}");
    drop(installation);
    Ok(())
}
