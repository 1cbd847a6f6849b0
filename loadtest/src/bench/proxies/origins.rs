//! Two origins of each pool, in one process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use local_stack::Builds;

use super::child::Child;

/// The origins' names, by which the configurations ask for their addresses.
pub(super) const NAMES: [&str; 4] = ["stateless-1", "stateless-2", "stateful-1", "stateful-2"];

const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);

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
        let child = super::start(builds, &env::current_exe()?, &args, &output, &[])?;
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(&output).unwrap_or_default();
            let line =
                |line: &str| line.split_once(' ').and_then(|(name, addr)| Some((name.to_owned(), addr.parse().ok()?)));
            let addrs: BTreeMap<_, _> = text.lines().filter_map(line).collect();
            if addrs.len() == NAMES.len() && text.ends_with('\n') {
                return Ok(Self { child, addrs });
            }
            ensure!(begin.elapsed() < PATIENCE, "the origins do not start: {text}");
            tokio::time::sleep(STEP).await;
        }
    }

    /// Their process.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What the configurations say of them.
    pub(super) fn words(&self) -> Result<Vec<(&'static str, String)>> {
        let word = |name| Ok((name, self.addrs.get(name).context("an origin is missing")?.to_string()));
        NAMES.into_iter().map(word).collect()
    }
}
