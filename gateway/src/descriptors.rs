//! File descriptors: how many there are, and how many of them clients' connections may use.
//!
//! Each request needs a second descriptor for the connection to its instance, and the gateway itself some for health
//! checks, discovery, the control plane and logs. When clients had them all, no health check could be made.

use pingora::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept back for what is no request: listeners, health checks, discovery, the control plane and its clients, logs, the
/// upgrade, and connections that are refused.
const KEPT_BACK: usize = 256;
/// By default clients have no more connections than this, however many descriptors there are.
const MOST_BY_DEFAULT: usize = 50_000;
/// With fewer connections than this a gateway is of little use.
const FEW: usize = 256;

/// The bound on connections cannot be met.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{wanted} connections ([clients] max_connections) need {needed} descriptors, and the limit is {limit}: \
     raise it (ulimit -n, LimitNOFILE, nofile), or set max_connections to {possible} at most"
)]
pub struct TooFewDescriptors {
    wanted: usize,
    needed: usize,
    limit: usize,
    possible: usize,
}

/// Raises this process's limit to the most that it may set, and tells it.
pub fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many connections all clients may have: as many as is wanted, else as leaves each a connection to an instance.
///
/// # Errors
/// When more are wanted than there are descriptors for.
pub fn max_connections(wanted: Option<usize>, limit: usize) -> Result<usize, TooFewDescriptors> {
    let possible = limit.saturating_sub(KEPT_BACK) / 2;
    if let Some(wanted) = wanted {
        let needed = wanted.saturating_mul(2).saturating_add(KEPT_BACK);
        if wanted > possible {
            return Err(TooFewDescriptors { wanted, needed, limit, possible });
        }
        return Ok(wanted);
    }
    let most = possible.clamp(1, MOST_BY_DEFAULT);
    if most < FEW {
        tracing::warn!(limit, most, "so few descriptors allow few connections; raise the limit (nofile)");
    }
    Ok(most)
}

/// Whether something failed because this process, or the system, had no descriptor left.
pub fn are_used_up(error: &Error) -> bool {
    let source = error.root_cause().downcast_ref::<std::io::Error>();
    let code = source.and_then(std::io::Error::raw_os_error);
    code.is_some_and(|code| {
        code == rustix::io::Errno::MFILE.raw_os_error() || code == rustix::io::Errno::NFILE.raw_os_error()
    })
}

#[cfg(test)]
mod tests {
    use pingora::{ErrorType, OrErr};

    use super::*;

    #[test]
    fn half_of_what_is_not_kept_back_is_for_clients() {
        assert_eq!(max_connections(None, 1_024), Ok(384));
        assert_eq!(max_connections(None, 20_000), Ok(9_872));
        assert_eq!(max_connections(None, usize::MAX), Ok(MOST_BY_DEFAULT));
        assert_eq!(max_connections(Some(100), 1_024), Ok(100));
        assert_eq!(max_connections(Some(60_000), 1_048_576), Ok(60_000), "who says so may have more");
        let error = max_connections(Some(5_000), 1_024).expect_err("too many").to_string();
        assert!(error.contains("10256 descriptors") && error.contains("384 at most"), "{error}");
    }

    #[test]
    fn the_limit_is_raised_to_what_may_be_set() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.map_or(usize::MAX, |current| current as usize), limit);
    }

    #[test]
    fn a_lack_of_descriptors_is_told_from_an_instance_that_refuses() {
        let failed = |code| {
            let failed: Result<(), _> = Err(std::io::Error::from_raw_os_error(code));
            failed.or_err(ErrorType::ConnectError, "connecting").expect_err("it failed")
        };
        assert!(are_used_up(&failed(24)) && are_used_up(&failed(23)));
        assert!(!are_used_up(&failed(111)));
    }
}
