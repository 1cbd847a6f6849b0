//! Programs that use the API by its documents alone, against a stack through Nginx: the examples of
//! `docs/examples`, a generated client, and schemathesis. `make test-clients` and `make fuzz-api`
//! install what they need.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Builds, Stack};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// Bounds a program that hangs.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Each is a round trip, so programs still run when the instance is killed.
const MESSAGES: &str = "1000";
/// Of generated requests. Its password is not in the document, whose examples are tried.
const ADMIN: &str = "fuzz-admin";
const ADMIN_PASSWORD: &str = "an admin that no generated request guesses";
const START: &str = "the program does not start; run make test-clients";

#[tokio::test]
#[ignore = "needs packages of PyPI: make test-clients"]
async fn the_example_in_python_misses_nothing_when_its_instance_crashes() -> Result<()> {
    let stack = start().await?;
    let mut program = program("target/tools/api-tests/bin/python", &stack)?;
    program.args(["docs/examples/chat.py", &https(&stack)?, "--messages", MESSAGES, "--ca"]);
    run_while_its_instance_crashes(program.arg(stack.ca_path()), stack).await
}

#[tokio::test]
#[ignore = "needs packages of npm: make test-clients"]
async fn the_example_in_javascript_misses_nothing_when_its_instance_crashes() -> Result<()> {
    let stack = start().await?;
    let mut program = program("node", &stack)?;
    program.args(["docs/examples/chat.mjs", &https(&stack)?, MESSAGES]);
    run_while_its_instance_crashes(program.env("NODE_EXTRA_CA_CERTS", stack.ca_path()), stack).await
}

#[tokio::test]
#[ignore = "needs packages of PyPI: make test-clients"]
async fn a_generated_client_works() -> Result<()> {
    let stack = start().await?;
    let mut program = program("target/tools/api-tests/bin/python", &stack)?;
    program.arg("infra/api-tests/use_generated_client.py").env("PYTHONPATH", "target/api-client");
    let result = run(&mut program).await;
    stack.shutdown().await;
    result
}

/// `FUZZ_SECONDS` bounds it.
#[tokio::test]
#[ignore = "needs packages of PyPI: make fuzz-api"]
async fn schemathesis_finds_no_fault() -> Result<()> {
    let stack = start().await?;
    let mut program = program("infra/api-tests/fuzz.sh", &stack)?;
    create_admin(&stack).await?;
    program.env("FUZZ_ADMIN", ADMIN).env("FUZZ_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let status = program.status().await;
    stack.shutdown().await;
    ensure!(status?.success(), "schemathesis found faults; see above");
    Ok(())
}

/// By the command that operators have.
async fn create_admin(stack: &Stack) -> Result<()> {
    let mut child = Command::new(Builds::beside_current_exe()?.binary("stateless-svc")?)
        .args(["user", "create", ADMIN, "--role=admin", "--password-file=-"])
        .env("DATABASE_URL", stack.database_url().expose_secret())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    child.stdin.take().context("it is piped")?.write_all(ADMIN_PASSWORD.as_bytes()).await?;
    let status = tokio::time::timeout(TIMEOUT, child.wait()).await??;
    ensure!(status.success(), "no admin was created; see above");
    Ok(())
}

async fn start() -> Result<Stack> {
    let plan = Stack::for_tests().stateless(2).health_interval(Duration::from_secs(1));
    Ok(plan.with_nginx().start().await?)
}

fn https(stack: &Stack) -> Result<String> {
    stack.urls().https.context("Nginx runs")
}

/// A program in the repository's folder, with the stack's addresses in its environment.
fn program(name: &str, stack: &Stack) -> Result<Command> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let path = if name.contains('/') { repository.join(name) } else { PathBuf::from(name) };
    let mut command = Command::new(path);
    command
        .env("TANDEM_TARGET", https(stack)?)
        .env("TANDEM_GATEWAY", stack.urls().gateway)
        .env("TANDEM_CACERT", stack.ca_path())
        .current_dir(&repository)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

async fn run(program: &mut Command) -> Result<()> {
    let status = tokio::time::timeout(TIMEOUT, program.status()).await;
    let status = status.context("the program did not end in time")?;
    let status = status.context(START)?;
    ensure!(status.success(), "the program failed; see above");
    Ok(())
}

/// Kills and restarts the instance of the program's session as soon as the program names it.
async fn run_while_its_instance_crashes(program: &mut Command, stack: Stack) -> Result<()> {
    let result = tokio::time::timeout(TIMEOUT, kill_its_instance(program, &stack)).await;
    stack.shutdown().await;
    let summary = result.context("the program did not end in time")??;
    ensure!(!summary.ends_with("streams: 1"), "its stream did not break: {summary}");
    Ok(())
}

async fn kill_its_instance(program: &mut Command, stack: &Stack) -> Result<String> {
    let mut running = program.stdout(Stdio::piped()).spawn().context(START)?;
    let mut output = BufReader::new(running.stdout.take().context("it is piped")?).lines();
    let first = output.next_line().await?.context("the program failed; see above")?;
    let instance = first.strip_prefix("Talking to ").context("names an instance")?;
    stack.kill(instance).await?;
    stack.start_component(instance).await?;
    let summary = output.next_line().await?.context("the program failed; see above")?;
    ensure!(running.wait().await?.success(), "the program failed; see above");
    Ok(summary)
}
