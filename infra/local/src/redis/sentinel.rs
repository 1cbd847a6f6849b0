//! A master with two replicas, and three Sentinels. After the loss of the master the promoted replica still has the other one,
//! so that writes can be acknowledged by a replica again at once.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::{folder, layout, talk};
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::plan::{Settings, Topology};
use crate::process::Launch;
use crate::programs;

/// Servers that hold the sessions.
pub(super) const NODES: u16 = 3;
/// Those that watch over them; two must agree that the master is lost.
pub(super) const SENTINELS: u16 = 3;
/// The name under which they watch.
pub(super) const MASTER: &str = "sessions";

/// What makes a server one of several. A master that no replica hears takes no writes: 2 s after it was cut off it is deposed,
/// whether it knows it or not.
pub(super) fn node_args(settings: &Settings, number: u16) -> Vec<String> {
    let mut args = "--min-replicas-to-write 1 --min-replicas-max-lag 2 --repl-diskless-sync-delay 0".to_owned();
    let (master, own) = (master_port(settings), settings.ports.redis_node(number));
    if master != own {
        args += &format!(" --replicaof 127.0.0.1 {master}");
    }
    args.split(' ').map(str::to_owned).collect()
}

/// How a Sentinel is started. It keeps what it knows in its configuration, which is written for it once.
pub(crate) fn launch(settings: &Settings, number: u16) -> Result<Launch, StackError> {
    let component = Component::Sentinel(number);
    let dir = folder(settings, component)?;
    let (path, port) = (dir.join("sentinel.conf"), settings.ports.sentinel(number));
    // Written anew where it has moved.
    if Known::read(&path).is_none_or(|known| known.port != port || Path::new(&known.dir) != dir) {
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

/// Waits until the master hears all its replicas, without which it takes no write.
pub(super) async fn await_replicas(settings: &Settings) -> Result<(), StackError> {
    let replicas = format!("connected_slaves:{}", NODES - 1);
    let online = format!("min_slaves_good_slaves:{}", NODES - 1);
    talk::until(master_port(settings), "INFO replication", &[&replicas, &online]).await
}

/// Waits until each Sentinel knows all others and all replicas.
pub(super) async fn await_watch(settings: &Settings) -> Result<(), StackError> {
    let watched =
        format!("status=ok,address=127.0.0.1:{},slaves={},sentinels={SENTINELS}", master_port(settings), NODES - 1);
    for number in 1..=SENTINELS {
        talk::until(settings.ports.sentinel(number), "INFO sentinel", &[&watched]).await?;
    }
    Ok(())
}

/// The master by what the Sentinels know, which outlives them; before they have ever been there, the first server.
fn master_port(settings: &Settings) -> u16 {
    let known = (1..=SENTINELS).filter_map(|number| {
        let dir = layout::folder(&settings.state, Topology::Sentinel, Component::Sentinel(number));
        let path = dir.join("sentinel.conf");
        let known = Known::read(&path)?;
        // All ports may have been moved by the same number since.
        let master = (known.master + settings.ports.sentinel(number)).checked_sub(known.port)?;
        Some((known.epoch, master))
    });
    known.max().map_or(settings.ports.redis_node(1), |(_, master)| master)
}

/// What a Sentinel has written down.
struct Known {
    port: u16,
    dir: String,
    master: u16,
    /// Counts the masters.
    epoch: u64,
}

impl Known {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)?.split(' ').next());
        Some(Self {
            port: after("port ")?.parse().ok()?,
            // It quotes what it writes again itself.
            dir: text.lines().find_map(|line| line.strip_prefix("dir "))?.trim_matches('"').to_owned(),
            master: after(&format!("sentinel monitor {MASTER} 127.0.0.1 "))?.parse().ok()?,
            epoch: after(&format!("sentinel config-epoch {MASTER} ")).and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        })
    }
}
