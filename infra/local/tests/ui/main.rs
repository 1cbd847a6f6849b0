//! The pages in a browser: starts a stack for the tests of `infra/ui-tests`, which need Chromium
//! and packages of npm. `make test-ui` installs both.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Classroom, Stack};
use tokio::process::Command;

/// Upgrades the gateway whenever a test writes the file `upgrade`, and then removes it.
async fn upgrade_on_request(stack: &Stack) -> Result<()> {
    let wish = stack.state_dir().join("upgrade");
    loop {
        if wish.exists() {
            stack.upgrade("gateway").await?;
            std::fs::remove_file(&wish)?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and packages of npm: make test-ui"]
async fn pages_work_in_a_browser() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let stack = Stack::for_tests()
        .stateless(2)
        .health_interval(Duration::from_secs(1))
        .with_nginx()
        .with_driver()
        .class(Classroom {
            is_open: true,
            listen: Ipv4Addr::LOCALHOST.into(),
            ..Classroom::default()
        })
        .start()
        .await?;
    let urls = stack.urls();
    // For work on one page: the tests whose names have this.
    let only = std::env::var("UI_ONLY").map(|name| format!("--test-name-pattern={name}"));
    // The tests stop by their own limits, and Chromium with them.
    let tests = Command::new("node")
        .arg("--test-reporter=spec")
        .args(only)
        .arg("infra/ui-tests/ui.test.mjs")
        .env("TANDEM_TARGET", urls.https.context("Nginx runs")?)
        .env("TANDEM_CLASS", urls.class.context("the class is open")?)
        .env("TANDEM_CONTROL", urls.control)
        .env("TANDEM_GATEWAY", urls.gateway)
        .env("TANDEM_VICTIM", stack.pid_of("stateful-2")?.to_string())
        .env("TANDEM_STATE", stack.state_dir())
        .env("UI_SCREENSHOTS", repository.join("target/ui"))
        .current_dir(&repository)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = tokio::select! {
        status = tests => status.context("node does not start; run make test-ui")?,
        failed = upgrade_on_request(&stack) => return failed,
    };
    stack.shutdown().await;
    ensure!(status.success(), "the tests of the pages failed; see above");
    Ok(())
}
