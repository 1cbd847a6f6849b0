//! Two origins of each pool, in one process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use local_stack::Builds;

use super::child::Child;
use super::launch::start;

/// The origins' names, also the placeholders of their addresses in the configurations.
pub(super) const NAMES: [&str; 4] = ["stateless-1", "stateless-2", "stateful-1", "stateful-2"];

const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The running origins.
pub(super) struct Origins {
    child: Child,
    addrs: BTreeMap<String, SocketAddr>,
}

impl Origins {
    /// Starts them and waits for their addresses.
    pub(super) async fn start(folder: &Path, builds: &Builds) -> Result<Self> {
        let output = folder.join("origins.out");
        let args: Vec<_> = ["origins"].into_iter().chain(NAMES).collect();
        let child = start(builds, &env::current_exe()?, &args, &output, &[])?;
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(&output).unwrap_or_default();
            let line = |line: &str| {
                line.split_once(' ')
                    .and_then(|(name, addr)| Some((name.to_owned(), addr.parse().ok()?)))
            };
            let addrs: BTreeMap<_, _> = text.lines().filter_map(line).collect();
            if addrs.len() == NAMES.len() && text.ends_with('\n') {
                return Ok(Self { child, addrs });
            }
            ensure!(begin.elapsed() < START_TIMEOUT, "the origins do not start: {text}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Their process.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Their addresses.
    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.addrs.values().copied()
    }

    /// Their addresses by placeholder.
    pub(super) fn values(&self) -> Result<Vec<(&'static str, String)>> {
        let word =
            |name| Ok((name, self.addrs.get(name).context("an origin is missing")?.to_string()));
        NAMES.into_iter().map(word).collect()
    }
}
