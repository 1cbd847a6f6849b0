//! File descriptors, which bound the connections of this process and of the proxies.

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of a process besides those of its clients and their upstream connections. The
/// gateway keeps as many.
const RESERVED: usize = 256;

/// Raises the soft limit to the hard limit, which children inherit. Returns how many clients a
/// proxy can have: each may take two descriptors.
pub(crate) fn most_clients() -> Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limits")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .context("cannot raise the limit of file descriptors")?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(RESERVED) / 2)
}

/// Fails when a proxy cannot have that many clients.
pub(crate) fn check(clients: usize, most: usize) -> Result<()> {
    ensure!(
        clients <= most,
        "{clients} connections need {} file descriptors, but the hard limit allows {most} \
         connections: raise it (ulimit -Hn), or use fewer",
        2 * clients + RESERVED
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_clients_are_an_error_that_names_the_limit() {
        check(384, 384).expect("as many as possible");
        let error = check(4_096, 384).expect_err("too many").to_string();
        assert!(error.contains("8448 file descriptors") && error.contains("allows 384"), "{error}");
    }
}
