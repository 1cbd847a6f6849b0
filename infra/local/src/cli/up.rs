//! `up`: starts a supervisor, shows its progress, returns when everything is healthy.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use proto_contracts::PoolName;
use proto_contracts::agent::{Phase, StackStatus};

use super::Wanted;
use super::show::{self, say};
use crate::agent::client::AgentClient;
use crate::plan::{Gateways, Store, Topology};
use crate::supervisor::{self, Options};

/// Between two looks at the supervisor's progress.
const LOOK: Duration = Duration::from_millis(50);
/// How long a supervisor that was killed may hold its lock after it stopped answering: until its last thread is gone.
const ENDING: Duration = Duration::from_secs(2);

pub(super) async fn run(state: &Path, wanted: Wanted) -> Result<()> {
    let begin = Instant::now();
    while supervisor::find(state)?.is_some() {
        match status_of(state).await {
            Ok((agent, status)) => return reconcile(&agent, status, wanted).await,
            Err(error) if begin.elapsed() > ENDING => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
    let options = Options {
        stateless: wanted.stateless.unwrap_or(2),
        stateful: wanted.stateful.unwrap_or(3),
        store: wanted.store.unwrap_or_default(),
        redis: wanted.redis.unwrap_or_default(),
        gateways: wanted.gateways.unwrap_or_default(),
        port_offset: wanted.port_offset.unwrap_or(0),
        otlp: wanted.otlp,
        lab: wanted.lab,
    };
    let log = supervisor::log_file(state);
    let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let output = output.with_context(|| format!("cannot open {}", log.display()))?;
    let begin = fs::metadata(&log)?.len();
    let mut supervisor = start(state, &options, output)?;

    let mut progress = Lines { file: File::open(&log)?, rest: String::new() };
    progress.file.seek(SeekFrom::Start(begin))?;
    let status = loop {
        progress.show()?;
        if let Some(status) = ready(state).await {
            break status;
        }
        if let Some(exit) = supervisor.try_wait()? {
            progress.show()?;
            bail!("it did not start ({exit}); its log is {}", log.display());
        }
        tokio::time::sleep(LOOK).await;
    };
    progress.show()?;
    show::welcome(&status)
}

/// A second `up` changes the numbers of instances that it names, and nothing else.
async fn reconcile(agent: &AgentClient, status: StackStatus, wanted: Wanted) -> Result<()> {
    if status.phase != Phase::Ready {
        return show::status(&status);
    }
    if wanted.store.is_some_and(|store: Store| store.as_str() != status.store) {
        bail!("it runs with the store '{}'; `make down` first, then start it with another", status.store);
    }
    let redis = running_topology(&status);
    if wanted.redis.is_some_and(|wanted| wanted != redis) {
        bail!("its sessions' Redis is '{}'; `make down` first, then start it with another", redis.as_str());
    }
    let gateways = if status.urls.second.is_some() { Gateways::Two } else { Gateways::One };
    if wanted.gateways.is_some_and(|wanted| wanted != gateways) {
        bail!("it runs with GATEWAYS={}; `make down` first, then start it with another", gateways.as_str());
    }
    if wanted.otlp.is_some() {
        bail!("where traces are sent is settled at its start; `make down` first, then start it with OTLP=");
    }
    if wanted.lab {
        bail!("the lab is opened at its start; `make down` first, then start it with LAB=1");
    }
    say("It is running already.")?;
    for (pool, count) in [(PoolName::Stateless, wanted.stateless), (PoolName::Stateful, wanted.stateful)] {
        if let Some(count) = count {
            agent.scale(pool, count).await?;
        }
    }
    let status = agent.status().await?;
    show::status(&status)?;
    show::welcome(&status)
}

/// How many servers hold the sessions of a running system, by the names of its components.
fn running_topology(status: &StackStatus) -> Topology {
    let has = |name: &str| status.components.iter().any(|component| component.name == name);
    match (has("sentinel-1"), has("redis-sessions-1")) {
        (true, _) => Topology::Sentinel,
        (false, true) => Topology::Cluster,
        (false, false) => Topology::Single,
    }
}

/// Starts the supervisor so that nothing of ours holds it, nor it anything of ours.
fn start(state: &Path, options: &Options, output: File) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--state").arg(state).arg("supervise");
    command.arg(format!("--stateless={}", options.stateless)).arg(format!("--stateful={}", options.stateful));
    command.arg(format!("--store={}", options.store.as_str())).arg(format!("--port-offset={}", options.port_offset));
    command.arg(format!("--redis={}", options.redis.as_str()));
    command.arg(format!("--gateways={}", options.gateways.as_str()));
    command.args(options.lab.then_some("--lab"));
    command.args(options.otlp.iter().map(|collector| format!("--otlp={collector}")));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().context("cannot start the supervisor")
}

async fn status_of(state: &Path) -> Result<(AgentClient, StackStatus)> {
    let agent = AgentClient::of_running(state)?;
    let status = agent.status().await?;
    Ok((agent, status))
}

async fn ready(state: &Path) -> Option<StackStatus> {
    // Until the supervisor listens there is nothing to ask; whether it has failed is asked elsewhere.
    let (_, status) = status_of(state).await.ok()?;
    (status.phase == Phase::Ready).then_some(status)
}

/// What is added to the supervisor's log.
struct Lines {
    file: File,
    /// The beginning of a line whose end has not been written.
    rest: String,
}

impl Lines {
    fn show(&mut self) -> Result<()> {
        self.file.read_to_string(&mut self.rest)?;
        while let Some((line, rest)) = self.rest.split_once('\n') {
            // The times are for those who read the log later.
            let text = line
                .split_once(' ')
                .filter(|(time, _)| time.parse::<Timestamp>().is_ok())
                .map_or(line, |(_, text)| text);
            if text != "ready" {
                say(format_args!("  {text}"))?;
            }
            self.rest = rest.to_owned();
        }
        Ok(())
    }
}
