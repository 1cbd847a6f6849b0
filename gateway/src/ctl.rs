//! `gateway ctl`: the command-line client of the control API.

mod canary;
mod client;
mod drain;
mod error;
mod events;
mod output;
mod progress;
mod show;
mod target;
mod terminal;
mod top;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use proto_contracts::control::{
    AddInstance, AssumedWeight, ChangeInstance, DrainInstance, Explanation, InstanceAdded,
    InstanceChanged, InstanceRemoved, Lasts, Pools, ReloadDone, SetStrategy, Strategy, StrategySet,
};
use proto_contracts::{AffinityKey, InstanceName, PoolName, Weight};
use serde_json::Value;

use canary::Canary;
use client::Client;
use error::CtlError;
use output::{at_all, print};
use target::Target;

/// Operate a running gateway over its control API.
///
/// Changes need the control token, from CONTROL_TOKEN or from the file given by --token-file. They
/// apply at each gateway of the deployment; the command fails if one was missed.
#[derive(Debug, Args)]
pub struct Ctl {
    /// URL of the gateway's control plane.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GATEWAY_CONTROL",
        default_value = "http://127.0.0.1:8001"
    )]
    control: String,
    /// A file that holds the control token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Change this gateway alone, not the deployment's others.
    #[arg(long, global = true)]
    alone: bool,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the pools with their instances.
    Pools {
        /// Only this pool.
        pool: Option<PoolName>,
    },
    /// Watch requests, verdicts and instances; q quits.
    Top {
        /// Print one measurement over the interval and exit.
        #[arg(long)]
        once: bool,
        /// Seconds between updates.
        #[arg(
            long,
            value_name = "S",
            default_value_t = 1,
            value_parser = clap::value_parser!(u64).range(1..=3600)
        )]
        interval: u64,
    },
    /// Switch the strategy of a pool: sticky, round_robin; in the lab ip_hash, least_conn.
    Strategy {
        /// The pool.
        pool: PoolName,
        /// The strategy from now on.
        strategy: Strategy,
    },
    /// Add an instance to a pool.
    Add {
        /// The pool.
        pool: PoolName,
        /// Where it listens, such as 127.0.0.1:8204.
        addr: SocketAddr,
        /// Its weight, 1 to 256; by default the one that the instance announces.
        #[arg(long, value_name = "N")]
        weight: Option<Weight>,
    },
    Canary(Canary),
    /// Change an instance's weight, 1 to 256.
    Weight {
        #[command(flatten)]
        target: Target,
        /// Its new weight.
        weight: Weight,
    },
    /// Remove an instance at once; its keys move. `drain` is graceful.
    Remove {
        #[command(flatten)]
        target: Target,
        /// Remove it even if it is the last available instance of its pool.
        #[arg(long)]
        force: bool,
    },
    /// Drain an instance: no new keys; old ones stay until the deadline.
    Drain {
        #[command(flatten)]
        target: Target,
        /// Seconds that its sessions may stay; 30 by default, or the deadline of a drain in
        /// progress.
        #[arg(long, value_name = "S")]
        deadline: Option<u64>,
        /// Show the progress until it is drained; fail if it is not.
        #[arg(long)]
        wait: bool,
        /// Drain it even if it is the last available instance of its pool.
        #[arg(long)]
        force: bool,
    },
    /// End a drain: the instance gets its keys back.
    Undrain(Target),
    /// Explain where a key goes and why, and what a change would move.
    Explain {
        /// The pool.
        pool: PoolName,
        /// The key: 8 hex digits, as in the cookie and in X-Affinity.
        #[arg(long)]
        key: AffinityKey,
        /// Assume this member is gone.
        #[arg(long, value_name = "NAME")]
        without: Option<InstanceName>,
        /// Assume this instance has joined.
        #[arg(long, value_name = "NAME")]
        with: Option<InstanceName>,
        /// Assume this member is drained.
        #[arg(long, value_name = "NAME")]
        drain: Option<InstanceName>,
        /// Assume this member has another weight, as in stateful-2:3.
        #[arg(long, value_name = "NAME:N")]
        weight: Option<AssumedWeight>,
    },
    /// Follow events: sampled requests, health, membership, strategy.
    Events {
        /// Types to show, separated by commas.
        #[arg(long)]
        types: Option<String>,
        /// Only this pool.
        #[arg(long)]
        pool: Option<PoolName>,
    },
    /// Reload the configuration.
    Reload,
}

impl Ctl {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CtlError::Output)
            .and_then(|runtime| runtime.block_on(self.act()));
        match done {
            Ok(()) => ExitCode::SUCCESS,
            // The reader of the output, such as `head`, closed it.
            Err(CtlError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                let _nobody_reads = writeln!(io::stderr(), "gateway ctl: {error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn act(self) -> Result<(), CtlError> {
        let client = Client::new(&self.control, self.token_file.as_deref(), self.alone)?;
        let json = self.json;
        match self.command {
            Command::Pools { pool } => {
                let mut pools: Pools = client.get("pools").await?;
                pools.pools.retain(|known| pool.is_none_or(|pool| pool == known.name));
                print(json, &pools, || show::pools(&pools))
            }
            Command::Top { once, interval } => {
                top::run(&client, json, once, Duration::from_secs(interval)).await
            }
            Command::Strategy { pool, strategy } => {
                let path = format!("pools/{pool}/strategy");
                let set: StrategySet =
                    client.change(Method::PUT, &path, Some(&SetStrategy { strategy })).await?;
                print(json, &set, || {
                    format!("{pool} is {} from now on.\n{}", set.strategy, note(set.lasts))
                })?;
                at_all(set.missed)
            }
            Command::Canary(canary) => canary.run(&client, json).await,
            Command::Weight { target, weight } => {
                let path = target.find(&client).await?;
                let changed: InstanceChanged =
                    client.change(Method::PATCH, &path, Some(&ChangeInstance { weight })).await?;
                print(json, &changed, || {
                    let (share, weight) =
                        (changed.instance.key_share_percent, changed.instance.weight);
                    format!("{} has the weight {weight}: {share:.2} % of the keys.\n", target.name)
                })?;
                at_all(changed.missed)
            }
            Command::Add { pool, addr, weight } => {
                let path = format!("pools/{pool}/instances");
                let added: InstanceAdded = client
                    .change(Method::POST, &path, Some(&AddInstance { addr, weight, lease_s: None }))
                    .await?;
                print(json, &added, || show::added(pool, &added.instance) + note(added.lasts))?;
                at_all(added.missed)
            }
            Command::Remove { target, force } => {
                let path = target.find(&client).await? + if force { "?force=true" } else { "" };
                let removed = client.command(Method::DELETE, &path, None::<&Value>).await?;
                print(json, &serde_json::json!({"removed": target.name}), || {
                    format!("{} is removed.\n", target.name)
                })?;
                // Without a body if none was missed.
                let removed = serde_json::from_slice::<InstanceRemoved>(&removed);
                at_all(removed.map(|removed| removed.missed).unwrap_or_default())
            }
            Command::Drain { target, deadline, wait, force } => {
                let path = target.find(&client).await?;
                let wanted = DrainInstance { deadline_s: deadline, force };
                drain::run(&client, json, &path, &target, wanted, wait).await
            }
            Command::Undrain(target) => {
                let path = target.find(&client).await?;
                let path = format!("{path}/undrain");
                let undrained: InstanceChanged =
                    client.change(Method::POST, &path, None::<&Value>).await?;
                print(json, &serde_json::json!({"undrained": target.name}), || {
                    format!("{} takes new keys again.\n", target.name)
                })?;
                at_all(undrained.missed)
            }
            Command::Explain { pool, key, without, with, drain, weight } => {
                let weight = weight.as_ref().map(ToString::to_string);
                let [without, with, drain] =
                    [without, with, drain].map(|name| name.map(|name| name.to_string()));
                let assumed =
                    [("without", without), ("with", with), ("drain", drain), ("weight", weight)];
                let assumed = assumed
                    .iter()
                    .filter_map(|(what, text)| Some(format!("&{what}={}", text.as_ref()?)));
                let path = format!("pools/{pool}/explain?key={key}{}", assumed.collect::<String>());
                let explanation: Explanation = client.get(&path).await?;
                print(json, &explanation, || show::explanation(&explanation))
            }
            Command::Events { types, pool } => {
                events::follow(&client, json, types.as_deref(), pool).await
            }
            Command::Reload => {
                let done: ReloadDone =
                    client.change(Method::POST, "reload", None::<&Value>).await?;
                print(json, &done, || "The configuration is reloaded.\n".to_owned())?;
                at_all(done.missed)
            }
        }
    }
}

/// A warning for a change that is not saved.
fn note(lasts: Lasts) -> &'static str {
    match lasts {
        Lasts::Saved => "",
        Lasts::UntilRestart => {
            "It lasts until the gateway restarts: [server] state_file is not set.\n"
        }
    }
}
