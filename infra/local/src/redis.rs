//! The two Redis servers: one keeps sessions and loses nothing, the other is a cache and may forget everything.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use nix::sys::signal::Signal;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::plan::Settings;
use crate::process::Launch;
use crate::programs;

/// Memory of the cache.
const CACHE_MEMORY: &str = "64mb";

/// How the sessions' Redis is started: a write that it acknowledged is on the disk, and it never evicts a session.
pub(crate) fn sessions(settings: &Settings) -> Result<Launch, StackError> {
    let keeping = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
    launch(settings, Component::RedisSessions, settings.ports.redis_sessions, &keeping)
}

/// How the cache's Redis is started: nothing reaches the disk, and what was not used for long makes room.
pub(crate) fn cache(settings: &Settings) -> Result<Launch, StackError> {
    let forgetting = ["--appendonly", "no", "--maxmemory", CACHE_MEMORY, "--maxmemory-policy", "allkeys-lru"];
    launch(settings, Component::RedisCache, settings.ports.redis_cache, &forgetting)
}

fn launch(settings: &Settings, component: Component, port: u16, memory: &[&str]) -> Result<Launch, StackError> {
    let dir = settings.state.join(component.to_string());
    // Whoever reads its files reads the sessions.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).attempt(|| format!("make {}", dir.display()))?;
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
