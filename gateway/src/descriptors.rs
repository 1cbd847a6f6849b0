//! File descriptors: the process limit, and the share of client connections.
//!
//! Each request may need a second descriptor for its upstream connection. Health checks, discovery,
//! the control plane and logs need some, which clients must not use up.

use std::io;

use pingora::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reserved for listeners, health checks, discovery, the control plane, logs, hot restart and
/// rejected connections.
const RESERVED: usize = 256;
/// Default limit of client connections, whatever the number of descriptors.
const DEFAULT_MAX_CONNECTIONS: usize = 50_000;
/// Fewer connections than this cause a warning.
const FEW: usize = 256;

/// There are too few descriptors for the configured limit of connections.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{wanted} connections ([clients] max_connections) need {needed} file descriptors, but the \
     limit is {limit}: raise it (ulimit -n, LimitNOFILE, nofile), or set max_connections to at \
     most {possible}"
)]
pub struct TooFewDescriptors {
    wanted: usize,
    needed: usize,
    limit: usize,
    possible: usize,
}

/// Raises the soft limit to the hard limit and returns it.
pub fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The limit of client connections: the configured one, or one that leaves an upstream connection
/// for each.
///
/// # Errors
/// When there are too few descriptors for the configured limit.
pub fn max_connections(wanted: Option<usize>, limit: usize) -> Result<usize, TooFewDescriptors> {
    let possible = limit.saturating_sub(RESERVED) / 2;
    if let Some(wanted) = wanted {
        let needed = wanted.saturating_mul(2).saturating_add(RESERVED);
        if wanted > possible {
            return Err(TooFewDescriptors { wanted, needed, limit, possible });
        }
        return Ok(wanted);
    }
    let most = possible.clamp(1, DEFAULT_MAX_CONNECTIONS);
    if most < FEW {
        tracing::warn!(
            limit,
            most,
            "the limit of file descriptors allows few connections; raise it (nofile)"
        );
    }
    Ok(most)
}

/// Whether the error is that the process or the system has no descriptor left.
pub fn are_used_up(error: &Error) -> bool {
    error.root_cause().downcast_ref::<io::Error>().is_some_and(is_used_up)
}

/// The same of an error of the system.
pub fn is_used_up(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        code == rustix::io::Errno::MFILE.raw_os_error()
            || code == rustix::io::Errno::NFILE.raw_os_error()
    })
}

#[cfg(test)]
mod tests {
    use pingora::{ErrorType, OrErr};

    use super::*;

    #[test]
    fn half_of_the_unreserved_descriptors_is_for_clients() {
        assert_eq!(max_connections(None, 1_024), Ok(384));
        assert_eq!(max_connections(None, 20_000), Ok(9_872));
        assert_eq!(max_connections(None, usize::MAX), Ok(DEFAULT_MAX_CONNECTIONS));
        assert_eq!(max_connections(Some(100), 1_024), Ok(100));
        assert_eq!(max_connections(Some(60_000), 1_048_576), Ok(60_000), "more if configured");
        let error = max_connections(Some(5_000), 1_024).expect_err("too many").to_string();
        assert!(
            error.contains("10256 file descriptors") && error.contains("at most 384"),
            "{error}"
        );
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_limit() {
        let limit = raise_limit();
        assert_eq!(
            getrlimit(Resource::Nofile).current.map_or(usize::MAX, |current| current as usize),
            limit
        );
    }

    #[test]
    fn a_lack_of_descriptors_differs_from_a_refused_connection() {
        let failed = |code| {
            let failed: Result<(), _> = Err(io::Error::from_raw_os_error(code));
            failed.or_err(ErrorType::ConnectError, "connecting").expect_err("it failed")
        };
        assert!(are_used_up(&failed(24)) && are_used_up(&failed(23)));
        assert!(!are_used_up(&failed(111)));
    }
}
