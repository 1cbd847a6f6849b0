//! The traffic driver as a component of `local-stack up --driver`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto_contracts::control::{Traffic, TrafficSettings};

use crate::client_without_ca;
use crate::command_line::Installation;

/// Limit for a line to appear in a log.
const TIMEOUT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn the_driver_is_a_component_like_the_others() -> Result<()> {
    let installation = Installation::new()?;
    let offset = format!("--port-offset={}", installation.offset);
    let up = ["up", "--stateless=1", "--stateful=1", "--driver", &offset];
    installation.succeed(&up)?;
    let state = |text: &str| {
        let row = text.lines().find(|line| line.starts_with("driver ")).map(str::to_owned);
        row.unwrap_or_else(|| panic!("no driver in {text}"))
    };
    let port = (8003 + installation.offset).to_string();
    let status = state(&installation.succeed(&["status"])?);
    assert!(status.contains("running") && status.contains(&port), "{status}");
    // Both omit nothing that differs.
    assert!(installation.succeed(&up)?.contains("Already running"));

    let token = fs::read_to_string(installation.state().join("control.token"))?;
    let url = format!("http://127.0.0.1:{}/control/v1/traffic", 8001 + installation.offset);
    let client = client_without_ca()?;
    let settings = TrafficSettings::default();
    let started = client.put(&url).bearer_auth(token.trim()).json(&settings).send().await?;
    assert!(started.error_for_status()?.json::<Traffic>().await?.running);
    // Lines are written in batches.
    let begin = Instant::now();
    while !installation.succeed(&["logs", "driver"])?.contains("\"clients\":20") {
        ensure!(begin.elapsed() < TIMEOUT, "the start is not in the log");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    installation.succeed(&["kill", "driver"])?;
    assert!(state(&installation.succeed(&["status"])?).contains("killed"));
    installation.succeed(&["start", "driver"])?;
    let idle: Traffic = client.get(&url).send().await?.error_for_status()?.json().await?;
    assert!(idle.driver && !idle.running, "{idle:?}");
    let again = client.put(&url).bearer_auth(token.trim()).json(&settings).send().await?;
    again.error_for_status()?;
    // Down while it runs: its clients leave, and nothing has to be killed.
    installation.succeed(&["down"])?;
    let log = fs::read_to_string(installation.state().join("logs/supervisor.log"))?;
    assert!(log.contains("driver stopped") && !log.contains("was killed"), "{log}");
    Ok(())
}
