//! The Redis servers: a durable one, replicated or clustered if wanted, for sessions, and a cache.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::component::Component;
use crate::error::StackError;
use crate::process::Launch;
use crate::programs;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::topology::Topology;

mod cluster;
mod command;
mod layout;
mod sentinel;

pub(crate) use sentinel::launch as sentinel;

/// Maximum memory of the cache.
const CACHE_MEMORY: &str = "64mb";

/// Acknowledged writes are on disk; sessions are never evicted.
const DURABLE: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];

/// The servers and Sentinels of the sessions, with their ports.
pub(crate) fn servers(settings: &Settings) -> Vec<(Component, u16)> {
    let ports = &settings.ports;
    let port = |component| match component {
        Component::RedisNode(number) => ports.redis_node(number),
        Component::Sentinel(number) => ports.sentinel(number),
        _ => ports.redis_sessions,
    };
    layout::components(settings.redis)
        .into_iter()
        .map(|component| (component, port(component)))
        .collect()
}

/// Prepares the data folders before any server starts.
pub(crate) fn prepare(settings: &Settings) -> Result<(), StackError> {
    for note in layout::prepare(&settings.state, settings.redis)? {
        (settings.progress)(&note);
    }
    Ok(())
}

/// The services' URL of the sessions' Redis.
pub(crate) fn sessions_url_for_services(settings: &Settings) -> String {
    match settings.tls {
        None => sessions_url(settings),
        Some(_) => format!("rediss://127.0.0.1:{}", settings.ports.redis_sessions_tls),
    }
}

/// The URL of the sessions' Redis without TLS.
pub(crate) fn sessions_url(settings: &Settings) -> String {
    let ports = &settings.ports;
    let list = |ports: &mut dyn Iterator<Item = u16>| {
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    };
    match settings.redis {
        Topology::Single => format!("redis://127.0.0.1:{}", ports.redis_sessions),
        Topology::Sentinel => {
            let sentinels = list(&mut (1..=layout::SENTINELS).map(|number| ports.sentinel(number)));
            format!("redis+sentinel://{sentinels}/{}", sentinel::MASTER)
        }
        Topology::Cluster => {
            format!(
                "redis+cluster://{}",
                list(&mut (1..=layout::CLUSTER_NODES).map(|number| ports.redis_node(number)))
            )
        }
    }
}

/// How many replicas must acknowledge a write. None on a cluster, where a promoted replica has no
/// replica until the failed server is back.
pub(crate) fn ack_replicas(settings: &Settings) -> &'static str {
    match settings.redis {
        Topology::Single | Topology::Cluster => "0",
        Topology::Sentinel => "1",
    }
}

/// Joins the servers, and waits until they accept writes.
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

/// Waits until all Sentinels have discovered each other and the replicas; before that they cannot
/// fail over.
pub(crate) async fn await_watch(settings: &Settings) -> Result<(), StackError> {
    match settings.redis {
        Topology::Single | Topology::Cluster => Ok(()),
        Topology::Sentinel => sentinel::await_watch(settings).await,
    }
}

/// How the single server of the sessions is started.
pub(crate) fn sessions(settings: &Settings) -> Result<Launch, StackError> {
    let ports = &settings.ports;
    let tls = tls_args(settings, ports.redis_sessions_tls);
    let args: Vec<&str> = DURABLE.into_iter().chain(tls.iter().map(String::as_str)).collect();
    launch(settings, Component::RedisSessions, ports.redis_sessions, &args)
}

/// How one of several servers of the sessions is started.
pub(crate) fn node(settings: &Settings, number: u16) -> Result<Launch, StackError> {
    let more = match settings.redis {
        Topology::Single | Topology::Sentinel => sentinel::node_args(settings, number),
        Topology::Cluster => cluster::node_args(settings, number),
    };
    let args: Vec<&str> = DURABLE.into_iter().chain(more.iter().map(String::as_str)).collect();
    launch(settings, Component::RedisNode(number), settings.ports.redis_node(number), &args)
}

/// How the cache's Redis is started: no persistence, LRU eviction.
pub(crate) fn cache(settings: &Settings) -> Result<Launch, StackError> {
    let volatile =
        ["--appendonly", "no", "--maxmemory", CACHE_MEMORY, "--maxmemory-policy", "allkeys-lru"];
    let ports = &settings.ports;
    let tls = tls_args(settings, ports.redis_cache_tls);
    let args: Vec<&str> = volatile.into_iter().chain(tls.iter().map(String::as_str)).collect();
    launch(settings, Component::RedisCache, ports.redis_cache, &args)
}

/// Arguments of a server that has this port for TLS, too. Clients need no certificate.
fn tls_args(settings: &Settings, port: u16) -> Vec<String> {
    let Some(Tls { ca, chain, key }) = &settings.tls else { return Vec::new() };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", path(chain)),
        ("--tls-key-file", path(key)),
        ("--tls-ca-cert-file", path(ca)),
        ("--tls-auth-clients", "no".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

fn launch(
    settings: &Settings,
    component: Component,
    port: u16,
    memory: &[&str],
) -> Result<Launch, StackError> {
    let dir = layout::make_folder(&settings.state, settings.redis, component)?;
    let port = port.to_string();
    let dir = dir.to_string_lossy();
    let common =
        ["--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--daemonize", "no"];
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
