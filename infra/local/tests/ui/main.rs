//! The pages in a browser: starts a stack for the tests of `infra/ui-tests`, which need Chromium
//! and packages of npm. `make test-ui` installs both.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Builds, Classroom, FreeOffset, Stack};
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

/// A system as `make up` starts it, with an agent: what lessons run on. It ends with the test.
struct Installation {
    state: tempfile::TempDir,
    /// Reserved as long as it runs.
    ports: FreeOffset,
}

impl Installation {
    fn up() -> Result<Self> {
        let state = tempfile::Builder::new().prefix("tandem-ui-").tempdir()?;
        let installation = Self { state, ports: FreeOffset::find()? };
        let offset = format!("--port-offset={}", installation.ports.get());
        installation.run(&["up", "--stateless=2", "--stateful=2", "--driver", &offset])?;
        Ok(installation)
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        let program = Builds::beside_current_exe()?.binary("local-stack")?;
        let mut command = std::process::Command::new(program);
        let output = command.arg("--state").arg(self.state.path()).args(args).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn control(&self) -> String {
        format!("http://127.0.0.1:{}", 8001 + self.ports.get())
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ended = self.run(&["down"]);
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
    let installation = tokio::task::spawn_blocking(Installation::up).await??;
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
        .env("TANDEM_LESSONS", installation.control())
        .env("TANDEM_LESSONS_STATE", installation.state.path())
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
