//! Starting the programs of the comparison.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use local_stack::Builds;

use super::child::Child;
use crate::target::{Reach, Target};

/// The target at a local address.
pub(super) async fn target(addr: SocketAddr) -> Result<Arc<Target>> {
    Ok(Arc::new(Target::resolve(&format!("http://{addr}"), None, Reach::ThisMachine).await?))
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
    args: &[&str],
    output: &Path,
    env: &[(&str, String)],
) -> Result<Child> {
    Child::start(&builds.binary("local-stack")?, program, args, output, env)
}
