//! The Redis servers: one, or several together, keep sessions and lose nothing; another is a cache and may forget everything.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::plan::{Settings, Topology};
use crate::process::Launch;
use crate::programs;

mod cluster;
mod layout;
mod sentinel;
mod talk;

pub(crate) use sentinel::launch as sentinel;

/// Memory of the cache.
const CACHE_MEMORY: &str = "64mb";

/// A write that it acknowledged is on the disk, and it never evicts a session.
const KEEPING: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];

/// The servers that hold the sessions, and those that watch over them, with their ports.
pub(crate) fn servers(settings: &Settings) -> Vec<(Component, u16)> {
    let ports = &settings.ports;
    let port = |component| match component {
        Component::RedisNode(number) => ports.redis_node(number),
        Component::Sentinel(number) => ports.sentinel(number),
        _ => ports.redis_sessions,
    };
    layout::components(settings.redis).into_iter().map(|component| (component, port(component))).collect()
}

/// Makes the folders fit for a start, before any server runs.
pub(crate) fn prepare(settings: &Settings) -> Result<(), StackError> {
    for note in layout::prepare(&settings.state, settings.redis)? {
        (settings.progress)(&note);
    }
    Ok(())
}

/// What the services call them by.
pub(crate) fn sessions_url(settings: &Settings) -> String {
    let ports = &settings.ports;
    let list = |ports: &mut dyn Iterator<Item = u16>| {
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    };
    match settings.redis {
        Topology::Single => format!("redis://127.0.0.1:{}", ports.redis_sessions),
        Topology::Sentinel => {
            let sentinels = list(&mut (1..=sentinel::SENTINELS).map(|number| ports.sentinel(number)));
            format!("redis+sentinel://{sentinels}/{}", sentinel::MASTER)
        }
        Topology::Cluster => {
            format!("redis+cluster://{}", list(&mut (1..=cluster::NODES).map(|number| ports.redis_node(number))))
        }
    }
}

/// How many replicas must have a write. On a cluster a promoted replica has none itself until the lost server is back, so
/// none is waited for there.
pub(crate) fn ack_replicas(settings: &Settings) -> &'static str {
    match settings.redis {
        Topology::Single | Topology::Cluster => "0",
        Topology::Sentinel => "1",
    }
}

/// Makes the servers one Redis, and waits until it takes writes.
pub(crate) async fn join(settings: &Settings) -> Result<(), StackError> {
    match settings.redis {
        Topology::Single => Ok(()),
        Topology::Sentinel => sentinel::await_replicas(settings).await,
        Topology::Cluster => {
            cluster::join(settings).await?;
            layout::note_joined(&settings.state)
        }
    }
}

/// Waits until the Sentinels, if there are any, know each other and all servers: until then they could promote none.
pub(crate) async fn await_watch(settings: &Settings) -> Result<(), StackError> {
    match settings.redis {
        Topology::Single | Topology::Cluster => Ok(()),
        Topology::Sentinel => sentinel::await_watch(settings).await,
    }
}

/// How the one server of the sessions is started.
pub(crate) fn sessions(settings: &Settings) -> Result<Launch, StackError> {
    launch(settings, Component::RedisSessions, settings.ports.redis_sessions, &KEEPING)
}

/// How one of several servers of the sessions is started.
pub(crate) fn node(settings: &Settings, number: u16) -> Result<Launch, StackError> {
    let more = match settings.redis {
        Topology::Single | Topology::Sentinel => sentinel::node_args(settings, number),
        Topology::Cluster => cluster::node_args(settings, number),
    };
    let args: Vec<&str> = KEEPING.into_iter().chain(more.iter().map(String::as_str)).collect();
    launch(settings, Component::RedisNode(number), settings.ports.redis_node(number), &args)
}

/// How the cache's Redis is started: nothing reaches the disk, and what was not used for long makes room.
pub(crate) fn cache(settings: &Settings) -> Result<Launch, StackError> {
    let forgetting = ["--appendonly", "no", "--maxmemory", CACHE_MEMORY, "--maxmemory-policy", "allkeys-lru"];
    launch(settings, Component::RedisCache, settings.ports.redis_cache, &forgetting)
}

fn launch(settings: &Settings, component: Component, port: u16, memory: &[&str]) -> Result<Launch, StackError> {
    let dir = folder(settings, component)?;
    let port = port.to_string();
    let dir = dir.to_string_lossy();
    let common = ["--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--daemonize", "no"];
    Ok(Launch {
        program: programs::find("redis-server", "redis-server")?,
        args: common.iter().chain(memory).map(Into::into).collect(),
        env: Vec::new(),
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(component),
    })
}

/// The folder of a server. Whoever reads its files reads the sessions.
fn folder(settings: &Settings, component: Component) -> Result<PathBuf, StackError> {
    let dir = layout::folder(&settings.state, settings.redis, component);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).attempt(|| format!("make {}", dir.display()))?;
    Ok(dir)
}
