//! An Nginx in front of a contender.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::access_log::AccessLog;
use super::child::Child;
use super::launch::{fill, free_addr, program, start, target, tls_target};
use super::setup::Setup;
use crate::target::Target;

const EDGE_CONF: &str = include_str!("../../../bench/edge.conf");

/// A running Nginx.
pub(super) struct Edge {
    pub(super) plain: Arc<Target>,
    pub(super) tls: Arc<Target>,
    pub(super) access_log: AccessLog,
    child: Child,
}

impl Edge {
    /// Starts it in front of that address.
    pub(super) async fn start(setup: &Setup<'_>, dir: &Path, upstream: SocketAddr) -> Result<Self> {
        let (listen, tls_listen) = (free_addr()?, free_addr()?);
        let (config, log) = (dir.join("edge.conf"), dir.join("edge-access.log"));
        let mut values = setup.values();
        values.extend([
            ("dir", dir.display().to_string()),
            ("log", log.display().to_string()),
            ("listen", listen.to_string()),
            ("tls_listen", tls_listen.to_string()),
            ("upstream", upstream.to_string()),
        ]);
        fs::write(&config, fill(EDGE_CONF, &values))?;
        let (config, errors) = (config.display().to_string(), dir.join("edge-error.log"));
        let args = ["-c", &config, "-e", &errors.display().to_string()];
        let child =
            start(&setup.builds, &program("nginx")?, &args, &dir.join("edge-output.log"), &[])?;
        Ok(Self {
            plain: target(listen).await?,
            tls: tls_target(tls_listen, &setup.certificate.cert).await?,
            access_log: AccessLog::at(log),
            child,
        })
    }

    /// Its processes.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        self.child.pids()
    }
}
