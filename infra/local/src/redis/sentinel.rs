//! A master with two replicas, and three Sentinels. After a failover the promoted replica still has
//! the other one, which acknowledges its writes.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::command;
use super::layout::{self, SENTINEL_NODES, SENTINELS};
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::process::Launch;
use crate::programs;
use crate::settings::Settings;
use crate::topology::Topology;

/// The master's name in the Sentinels' configuration.
pub(super) const MASTER: &str = "sessions";

/// Arguments of a replicated server. A master without a replica rejects writes after 2 s: when it
/// is partitioned, the Sentinels promote another. About `repl-diskless-sync` see the Cluster's.
pub(super) fn node_args(settings: &Settings, number: u16) -> Vec<String> {
    let mut args =
        "--min-replicas-to-write 1 --min-replicas-max-lag 2 --repl-diskless-sync no".to_owned();
    let (master, own) = (master_port(settings), settings.ports.redis_node(number));
    if master != own {
        args += &format!(" --replicaof 127.0.0.1 {master}");
    }
    args.split(' ').map(str::to_owned).collect()
}

/// How a Sentinel is started. It keeps its state in its configuration file, so that is written
/// once.
pub(crate) fn launch(settings: &Settings, number: u16) -> Result<Launch, StackError> {
    let component = Component::Sentinel(number);
    let dir = layout::make_folder(&settings.state, Topology::Sentinel, component)?;
    let (path, port) = (dir.join("sentinel.conf"), settings.ports.sentinel(number));
    // Rewritten when its port or folder has changed.
    if SentinelState::read(&path)
        .is_none_or(|known| known.port != port || Path::new(&known.dir) != dir)
    {
        let master = master_port(settings);
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 2000\n\
             sentinel failover-timeout {MASTER} 3000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            dir.display()
        );
        fs::write(&path, text).attempt(|| format!("write {}", path.display()))?;
    }
    Ok(Launch {
        program: programs::find("redis-server", "redis-server")?,
        args: vec![path.into_os_string(), "--sentinel".into()],
        env: Vec::new(),
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(component),
    })
}

/// Waits until all replicas are connected; until then the master rejects writes.
pub(super) async fn await_replicas(settings: &Settings) -> Result<(), StackError> {
    let replicas = format!("connected_slaves:{}", SENTINEL_NODES - 1);
    let online = format!("min_slaves_good_slaves:{}", SENTINEL_NODES - 1);
    command::wait_for(master_port(settings), "INFO replication", &[&replicas, &online]).await
}

/// Waits until each Sentinel has discovered all others and all replicas.
pub(super) async fn await_watch(settings: &Settings) -> Result<(), StackError> {
    let watched = format!(
        "status=ok,address=127.0.0.1:{},slaves={},sentinels={SENTINELS}",
        master_port(settings),
        SENTINEL_NODES - 1
    );
    for number in 1..=SENTINELS {
        command::wait_for(settings.ports.sentinel(number), "INFO sentinel", &[&watched]).await?;
    }
    Ok(())
}

/// The current master's port from the Sentinels' files; at the first start, that of the first
/// server.
fn master_port(settings: &Settings) -> u16 {
    let known = (1..=SENTINELS).filter_map(|number| {
        let dir = layout::folder(&settings.state, Topology::Sentinel, Component::Sentinel(number));
        let path = dir.join("sentinel.conf");
        let known = SentinelState::read(&path)?;
        // All ports may have been shifted by the same offset since.
        let master = (known.master + settings.ports.sentinel(number)).checked_sub(known.port)?;
        Some((known.epoch, master))
    });
    known.max().map_or(settings.ports.redis_node(1), |(_, master)| master)
}

/// The state in a Sentinel's configuration file.
struct SentinelState {
    port: u16,
    dir: String,
    master: u16,
    /// Incremented by each failover.
    epoch: u64,
}

impl SentinelState {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let after =
            |start: &str| text.lines().find_map(|line| line.strip_prefix(start)?.split(' ').next());
        Some(Self {
            port: after("port ")?.parse().ok()?,
            // Sentinel quotes the value when it rewrites the file.
            dir: text
                .lines()
                .find_map(|line| line.strip_prefix("dir "))?
                .trim_matches('"')
                .to_owned(),
            master: after(&format!("sentinel monitor {MASTER} 127.0.0.1 "))?.parse().ok()?,
            epoch: after(&format!("sentinel config-epoch {MASTER} "))
                .and_then(|epoch| epoch.parse().ok())
                .unwrap_or(0),
        })
    }
}
