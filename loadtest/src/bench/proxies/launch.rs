//! Starting the programs of the comparison.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use local_stack::Builds;

use super::child::Child;
use crate::target::{Reach, Target};

/// The target at a local address.
pub(super) async fn target(addr: SocketAddr) -> Result<Arc<Target>> {
    Ok(Arc::new(Target::resolve(&format!("http://{addr}"), None, Reach::ThisMachine).await?))
}

/// The target with TLS at a local address.
pub(super) async fn tls_target(addr: SocketAddr, cert: &Path) -> Result<Arc<Target>> {
    let url = format!("https://{addr}");
    Ok(Arc::new(Target::resolve(&url, Some(cert), Reach::ThisMachine).await?))
}

/// Replaces the `{placeholders}` of a configuration.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(template.to_owned(), |text, (word, value)| {
        text.replace(&format!("{{{word}}}"), value)
    })
}

/// Starts a child of this process, with its output in that file.
pub(super) fn start(
    builds: &Builds,
    program: &Path,
    args: &[impl AsRef<OsStr>],
    output: &Path,
    env: &[(&str, String)],
) -> Result<Child> {
    Child::start(&builds.binary("local-stack")?, program, args, output, env)
}

/// The path of an installed program.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    local_stack::find_program(name).with_context(|| {
        format!(
            "{name} is not installed: `infra/local/install-packages.sh --for-bench`, or leave \
             it out of --proxies"
        )
    })
}

/// A free address. If another program binds it first, ours fails with an error.
pub(super) fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
