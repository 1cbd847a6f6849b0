//! `up`: starts a supervisor, shows its progress and returns when everything is healthy.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use proto_contracts::PoolName;
use proto_contracts::agent::{Phase, StackStatus};

use super::show::{self, print_line};
use crate::agent_client::AgentClient;
use crate::class::Classroom;
use crate::supervisor::{self, Options};
use crate::topology::{Gateways, Store, Topology};

/// How often the supervisor's progress is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a supervisor may hold its lock without responding, while it starts or exits.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The components that `--replica` and `--driver` add.
const REPLICA: &str = "postgres-replica";
const DRIVER: &str = "driver";

/// Arguments of `up`. Omitted ones keep their running value, or take their default.
#[derive(clap::Args)]
pub(super) struct UpArgs {
    /// Instances of the stateless service [default: 2].
    #[arg(long)]
    stateless: Option<u16>,
    /// Instances of the stateful service [default: 3].
    #[arg(long)]
    stateful: Option<u16>,
    /// Session store of the stateful service [default: hybrid].
    #[arg(long, value_enum)]
    store: Option<Store>,
    /// Redis topology of the sessions [default: single].
    #[arg(long, value_enum)]
    redis: Option<Topology>,
    /// Number of gateways behind Nginx [default: 1].
    #[arg(long, value_enum)]
    gateways: Option<Gateways>,
    /// With a standby of PostgreSQL, from which the stateless service reads lists.
    #[arg(long)]
    replica: bool,
    /// With TLS between all tiers, and not only in front of Nginx.
    #[arg(long)]
    tls: bool,
    /// Added to every port, for when the default ports are in use [default: 0].
    #[arg(long, value_parser = clap::value_parser!(u16).range(..=10_000))]
    port_offset: Option<u16>,
    /// Export traces by OTLP over HTTP to this collector, such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Let clients override a request's strategy by X-Routing-Strategy, for teaching.
    #[arg(long)]
    lab: bool,
    /// With the traffic driver, which the board starts and stops. Needs the binary loadtest.
    #[arg(long)]
    driver: bool,
    #[command(flatten)]
    class: Classroom,
}

pub(super) async fn run(state: &Path, wanted: UpArgs) -> Result<()> {
    loop {
        if let Some((agent, status)) = running(state).await? {
            return reconcile(state, &agent, status, wanted).await;
        }
        if let Started::Ready(status) = start_and_show(state, &wanted).await? {
            return show::welcome(state, &status);
        }
    }
}

/// Outcome of a start.
enum Started {
    Ready(Box<StackStatus>),
    /// Another `up` won the race.
    ByAnother,
}

/// The running supervisor, once it responds; `None` when none runs.
async fn running(state: &Path) -> Result<Option<(AgentClient, StackStatus)>> {
    let begin = Instant::now();
    loop {
        let result = match supervisor::find(state) {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => status_of(state).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(found) => return Ok(Some(found)),
            Err(error) if begin.elapsed() > SUPERVISOR_TIMEOUT => return Err(error),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

async fn start_and_show(state: &Path, wanted: &UpArgs) -> Result<Started> {
    let options = Options {
        stateless: wanted.stateless.unwrap_or(2),
        stateful: wanted.stateful.unwrap_or(3),
        store: wanted.store.unwrap_or_default(),
        redis: wanted.redis.unwrap_or_default(),
        gateways: wanted.gateways.unwrap_or_default(),
        replica: wanted.replica,
        tls: wanted.tls,
        port_offset: wanted.port_offset.unwrap_or(0),
        otlp: wanted.otlp.clone(),
        lab: wanted.lab,
        driver: wanted.driver,
        class: wanted.class.clone(),
    };
    let log = supervisor::log_file(state);
    let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let output = output.with_context(|| format!("cannot open {}", log.display()))?;
    let mut progress = Lines::from_end_of(&log)?;
    let mut supervisor = start(state, &options, output)?;
    let own = supervisor.id().cast_signed();
    loop {
        progress.show()?;
        if let Some(exit) = supervisor.try_wait()? {
            progress.show()?;
            if supervisor::find(state).is_ok_and(|found| found.is_none()) {
                bail!("the system did not start ({exit}); its log is {}", log.display());
            }
            return Ok(Started::ByAnother);
        }
        let is_own = supervisor::find(state).ok().flatten().is_some_and(|found| found.pid == own);
        if let Ok((_, status)) = status_of(state).await
            && is_own
            && status.phase == Phase::Ready
        {
            progress.show()?;
            return Ok(Started::Ready(Box::new(status)));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A second `up` waits for a start in progress, then changes the numbers of instances that it
/// names.
async fn reconcile(
    state: &Path,
    agent: &AgentClient,
    status: StackStatus,
    wanted: UpArgs,
) -> Result<()> {
    if let Some((name, running, wanted)) = difference(&status, &wanted) {
        bail!(
            "the running system has {name}={running}, not {wanted}: run `make down`, then `make \
             up {name}={wanted}`"
        );
    }
    match status.phase {
        Phase::Ready => print_line("Already running.")?,
        Phase::Starting => {
            print_line("Already starting; waiting for it.")?;
            await_ready(state, agent).await?;
        }
        Phase::Stopping => bail!(
            "the system is stopping: `make down` waits for that, then `make up` starts it again"
        ),
    }
    for (pool, count) in
        [(PoolName::Stateless, wanted.stateless), (PoolName::Stateful, wanted.stateful)]
    {
        if let Some(count) = count {
            agent.scale(pool, count).await?;
        }
    }
    let status = agent.status().await?;
    show::status(&status)?;
    show::welcome(state, &status)
}

async fn await_ready(state: &Path, agent: &AgentClient) -> Result<()> {
    let log = supervisor::log_file(state);
    let mut progress = Lines::from_end_of(&log)?;
    loop {
        progress.show()?;
        match agent.status().await {
            Ok(status) if status.phase == Phase::Ready => return progress.show(),
            Ok(status) if status.phase == Phase::Stopping => {
                bail!("the system was stopped while it started")
            }
            // It ended by a failure. An error while it runs is transient: the machine may be busy.
            Err(_) if supervisor::find(state)?.is_none() => {
                progress.show()?;
                bail!("the system did not start; its log is {}", log.display());
            }
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The first setting that differs from the running system: its name for `make up`, the running
/// and the wanted value. Omitted settings don't differ.
fn difference(status: &StackStatus, wanted: &UpArgs) -> Option<(&'static str, String, String)> {
    let gateways =
        if status.urls.second.is_some() { Gateways::Two } else { Gateways::One }.as_str();
    let running_class = u8::from(status.urls.class.is_some()).to_string();
    let running_tls = u8::from(status.urls.gateway.starts_with("https:")).to_string();
    let running_lab = u8::from(status.lab).to_string();
    let has = |name| {
        u8::from(status.components.iter().any(|component| component.name == name)).to_string()
    };
    let settings = [
        ("REPLICA", has(REPLICA), wanted.replica.then(|| "1".to_owned())),
        ("TLS", running_tls, wanted.tls.then(|| "1".to_owned())),
        ("DRIVER", has(DRIVER), wanted.driver.then(|| "1".to_owned())),
        ("STORE", status.store.clone(), wanted.store.map(|store| store.as_str().to_owned())),
        ("REDIS", status.redis.clone(), wanted.redis.map(|redis| redis.as_str().to_owned())),
        (
            "GATEWAYS",
            gateways.to_owned(),
            wanted.gateways.map(|gateways| gateways.as_str().to_owned()),
        ),
        (
            "PORT_OFFSET",
            status.port_offset.to_string(),
            wanted.port_offset.map(|offset| offset.to_string()),
        ),
        ("OTLP", status.otlp.clone().unwrap_or_default(), wanted.otlp.clone()),
        ("LAB", running_lab, wanted.lab.then(|| "1".to_owned())),
        ("CLASS", running_class, wanted.class.is_open.then(|| "1".to_owned())),
    ];
    let mut named =
        settings.into_iter().filter_map(|(name, running, wanted)| Some((name, running, wanted?)));
    named.find(|(_, running, wanted)| running != wanted)
}

/// Starts the supervisor without sharing a descriptor with it, other than its log.
fn start(state: &Path, options: &Options, output: File) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--state").arg(state).arg("supervise");
    command
        .arg(format!("--stateless={}", options.stateless))
        .arg(format!("--stateful={}", options.stateful));
    command
        .arg(format!("--store={}", options.store.as_str()))
        .arg(format!("--port-offset={}", options.port_offset));
    command.arg(format!("--redis={}", options.redis.as_str()));
    command.arg(format!("--gateways={}", options.gateways.as_str()));
    command.args(options.replica.then_some("--replica"));
    command.args(options.tls.then_some("--tls"));
    command.args(options.lab.then_some("--lab"));
    command.args(options.driver.then_some("--driver"));
    command.args(options.class.to_args());
    command.args(options.otlp.iter().map(|collector| format!("--otlp={collector}")));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().context("cannot start the supervisor")
}

async fn status_of(state: &Path) -> Result<(AgentClient, StackStatus)> {
    let agent = AgentClient::of_running(state)?;
    let status = agent.status().await?;
    Ok((agent, status))
}

/// Follows the supervisor's log.
struct Lines {
    file: File,
    /// An incomplete last line.
    rest: String,
}

impl Lines {
    /// Lines that are appended from now on.
    fn from_end_of(log: &Path) -> Result<Self> {
        let mut file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, rest: String::new() })
    }

    fn show(&mut self) -> Result<()> {
        self.file.read_to_string(&mut self.rest)?;
        while let Some((line, rest)) = self.rest.split_once('\n') {
            // Without the timestamp.
            let text = line
                .split_once(' ')
                .filter(|(time, _)| time.parse::<Timestamp>().is_ok())
                .map_or(line, |(_, text)| text);
            if text != "ready" {
                print_line(format_args!("  {text}"))?;
            }
            self.rest = rest.to_owned();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proto_contracts::agent::Urls;

    use super::*;

    #[derive(Parser)]
    struct Up {
        #[command(flatten)]
        args: UpArgs,
    }

    fn wanted(options: &[&str]) -> UpArgs {
        Up::parse_from(["up"].iter().chain(options)).args
    }

    #[test]
    fn each_differing_option_is_reported_with_both_values() {
        let url = String::new;
        let status = StackStatus {
            phase: Phase::Ready,
            store: "hybrid".to_owned(),
            redis: "single".to_owned(),
            port_offset: 0,
            otlp: None,
            lab: false,
            urls: Urls {
                https: None,
                gateway: url(),
                control: url(),
                agent: url(),
                second: None,
                class: None,
                prometheus: None,
            },
            ca_file: String::new(),
            control_token_file: String::new(),
            components: Vec::new(),
        };
        for (option, name, running, value) in [
            ("--store=memory", "STORE", "hybrid", "memory"),
            ("--redis=cluster", "REDIS", "single", "cluster"),
            ("--gateways=2", "GATEWAYS", "1", "2"),
            ("--port-offset=3000", "PORT_OFFSET", "0", "3000"),
            ("--otlp=http://127.0.0.1:4318", "OTLP", "", "http://127.0.0.1:4318"),
            ("--lab", "LAB", "0", "1"),
            ("--replica", "REPLICA", "0", "1"),
            ("--tls", "TLS", "0", "1"),
            ("--class", "CLASS", "0", "1"),
            ("--driver", "DRIVER", "0", "1"),
        ] {
            let expected = Some((name, running.to_owned(), value.to_owned()));
            assert_eq!(difference(&status, &wanted(&["--stateful=7", option])), expected);
        }
        // Equal or omitted settings don't differ.
        let same = [
            "--store=hybrid",
            "--redis=single",
            "--port-offset=0",
            "--gateways=1",
            "--stateless=1",
        ];
        assert_eq!(difference(&status, &wanted(&same)), None);
        let special =
            StackStatus { lab: true, otlp: Some("http://127.0.0.1:4318".to_owned()), ..status };
        assert_eq!(difference(&special, &wanted(&[])), None);
        assert_eq!(difference(&special, &wanted(&["--lab", "--otlp=http://127.0.0.1:4318"])), None);
    }
}
