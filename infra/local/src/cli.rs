//! The command line of `local-stack`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::Command as Program;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use proto_contracts::PoolName;
use proto_contracts::agent::{Action, Scale};

use crate::agent_client::AgentClient;
use crate::process::ExecChild;
use crate::supervisor::{self, Options};

mod ctl;
mod down;
mod show;
mod up;

use show::print_line;
use up::UpArgs;

/// Runs the whole system on this machine as ordinary processes: PostgreSQL, two Redis, the
/// services, the gateway, Nginx.
#[derive(Parser)]
#[command(name = "local-stack", version)]
pub struct Cli {
    /// The folder that keeps data, logs and secrets.
    #[arg(long, global = true, default_value = ".local", value_name = "DIR")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything and waits until it is healthy; on a running system, sets the numbers of
    /// instances.
    Up(UpArgs),
    /// Lists all components.
    Status,
    /// Sets a pool's number of instances, such as `stateful=4`.
    Scale {
        /// `stateless=N` or `stateful=N`, one or both.
        #[arg(required = true, value_parser = parse_scale)]
        pools: Vec<(PoolName, u16)>,
        /// Allow zero instances; then every request of the pool fails.
        #[arg(long)]
        force: bool,
    },
    /// Kills a component (SIGKILL).
    Kill(Target),
    /// Stops a component gracefully.
    Stop(Target),
    /// Starts a stopped component.
    Start(Target),
    /// Drains and restarts an instance without a failed request.
    Roll(Target),
    /// Hot restart: replaces each gateway, one after the other, with a new process of the current
    /// build.
    UpgradeGateway,
    /// Shows the log of a component, or of the supervisor.
    Logs {
        /// A component's name, such as stateful-2, or supervisor.
        name: String,
        /// Follow the log.
        #[arg(short, long)]
        follow: bool,
        /// Number of lines from its end.
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// Runs `gateway ctl`, such as `ctl pools` or `ctl top`; `ctl help` lists its commands. With
    /// two gateways `pools` and `explain` run for each; `top` and `events` show the first,
    /// and a change is made by the first, which passes it on.
    #[command(disable_help_flag = true)]
    Ctl {
        /// Only this gateway: gateway or gateway-2.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Arguments of `gateway ctl`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Stops everything.
    Down,
    /// Runs the stack in the foreground; `up` starts this.
    #[command(hide = true)]
    Supervise(Options),
    /// Executes a program that ends with its launcher.
    #[command(hide = true)]
    ExecChild(ExecChild),
}

#[derive(clap::Args)]
struct Target {
    /// A component's name, such as stateful-2 or redis-sessions; `status` lists them.
    name: String,
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The command's failure, with its causes.
    pub fn run(self) -> Result<()> {
        let state = absolute(&self.state).context("the state folder has no absolute path")?;
        let command = match self.command {
            // Before any thread starts: this process replaces itself.
            Command::ExecChild(exec) => match exec.run()? {},
            command => command,
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(command.run(state))
    }
}

impl Command {
    async fn run(self, state: PathBuf) -> Result<()> {
        match self {
            Self::Up(args) => up::run(&state, args).await,
            Self::Down => down::run(&state).await,
            Self::Status => match supervisor::find(&state)? {
                Some(found) => {
                    show::status(&AgentClient::new(&state, found.agent)?.status().await?)
                }
                None => print_line("Not running. `make up` starts the system."),
            },
            Self::Scale { pools, force } => {
                let agent = AgentClient::of_running(&state)?;
                for (pool, instances) in pools {
                    agent.scale_as(Scale { pool, instances, force }).await?;
                }
                show::status(&agent.status().await?)
            }
            Self::Kill(target) => act(&state, &target.name, Action::Kill).await,
            Self::Stop(target) => act(&state, &target.name, Action::Stop).await,
            Self::Start(target) => act(&state, &target.name, Action::Start).await,
            Self::Roll(target) => act(&state, &target.name, Action::Roll).await,
            Self::UpgradeGateway => upgrade_gateways(&state).await,
            Self::Logs { name, follow, lines } => logs(&state, &name, follow, lines),
            Self::Ctl { only, args } => ctl::run(&state, only.as_deref(), &args).await,
            Self::Supervise(options) => supervisor::run(state, options).await,
            Self::ExecChild(_) => Ok(()),
        }
    }
}

async fn act(state: &Path, name: &str, action: Action) -> Result<()> {
    let status = AgentClient::of_running(state)?.act(name, action).await?;
    show::components(status.components.iter().filter(|component| component.name == name))
}

/// Upgrades one after the other. If a new process fails, the old one keeps serving and later
/// gateways stay untouched.
async fn upgrade_gateways(state: &Path) -> Result<()> {
    let agent = AgentClient::of_running(state)?;
    let second = agent.status().await?.urls.second;
    let names: Vec<String> =
        ["gateway".to_owned()].into_iter().chain(second.map(|second| second.name)).collect();
    let mut status = None;
    for name in &names {
        status = Some(agent.act(name, Action::Upgrade).await?);
    }
    let components = status.iter().flat_map(|status| &status.components);
    show::components(components.filter(|component| names.contains(&component.name)))
}

/// Replaces this process by `tail`.
fn logs(state: &Path, name: &str, follow: bool, lines: usize) -> Result<()> {
    let dir = state.join("logs");
    let file = dir.join(format!("{name}.log"));
    if !file.is_file() {
        let logs =
            std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let known =
            logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let mut known: Vec<String> =
            known.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
        known.sort();
        bail!("no log of '{name}'; known: {}", known.join(", "));
    }
    let mut tail = Program::new("tail");
    tail.arg(format!("--lines={lines}"));
    if follow {
        tail.arg("-F");
    }
    Err(tail.arg("--").arg(file).exec()).context("cannot run tail")
}

fn parse_scale(text: &str) -> Result<(PoolName, u16), String> {
    let (pool, count) = text.split_once('=').ok_or("write it as stateful=4")?;
    let pool = pool.parse::<PoolName>().map_err(|error| error.to_string())?;
    Ok((pool, count.parse().map_err(|_| format!("'{count}' is not a number of instances"))?))
}
