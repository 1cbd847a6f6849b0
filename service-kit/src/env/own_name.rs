//! This machine's DNS name, by reverse lookup.
//!
//! Compose and Docker number the containers of a service. Their DNS resolves a container's address
//! to its name, such as `tandem-stateful-svc-2`, which Compose keeps when it recreates the
//! container. The number is not visible inside the container, and the host name changes each time.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::proto::rr::RData;

/// How long it may take until the DNS resolves a container that has just started.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// For one DNS query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// The name was not found.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("this machine's addresses cannot be listed: {0}")]
    Addresses(#[from] std::io::Error),
    #[error("the system's resolver cannot be used: {0}")]
    Resolver(String),
    #[error("the DNS has no name for any address of this machine ({0:?})")]
    Unknown(Vec<IpAddr>),
}

/// `kind` and the number at the end of this machine's name, or the name's first label where there
/// is no number.
pub(super) fn by_dns(kind: &str) -> Result<String, NameError> {
    // In its own thread, since the caller may be within a runtime.
    thread::scope(|scope| scope.spawn(|| look_up(kind)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn look_up(kind: &str) -> Result<String, NameError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    loop {
        let addresses = own_addresses()?;
        let found = runtime.block_on(async {
            let resolver = resolver()?;
            for address in &addresses {
                if let Some(name) = name_of(&resolver, *address).await {
                    return Ok::<_, NameError>(Some(name));
                }
            }
            Ok(None)
        })?;
        match found {
            Some(name) => return Ok(numbered(kind, &name)),
            None if began.elapsed() > REGISTRATION_TIMEOUT => {
                return Err(NameError::Unknown(addresses));
            }
            None => thread::sleep(RETRY_INTERVAL),
        }
    }
}

fn own_addresses() -> std::io::Result<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    Ok(addresses.filter(|address| !address.is_loopback()).collect())
}

fn resolver() -> Result<TokioResolver, NameError> {
    let unusable = |error: &dyn std::fmt::Display| NameError::Resolver(error.to_string());
    let mut builder = TokioResolver::builder_tokio().map_err(|error| unusable(&error))?;
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    options.attempts = 1;
    // A container's hosts file has its host name, which changes.
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| unusable(&error))
}

async fn name_of(resolver: &TokioResolver, address: IpAddr) -> Option<String> {
    let response = resolver.reverse_lookup(address).await.ok()?;
    response.answers().iter().find_map(|record| match &record.data {
        RData::PTR(name) => Some(name.0.to_utf8()),
        _ => None,
    })
}

/// `tandem-stateful-svc-2.tandem_app.` is `stateful-2`; Compose 1 writes `tandem_stateful-svc_2`.
fn numbered(kind: &str, name: &str) -> String {
    let label = name.split('.').next().unwrap_or(name);
    match label.rsplit_once(['-', '_']) {
        Some((_, number))
            if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) =>
        {
            format!("{kind}-{number}")
        }
        _ => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_container_makes_its_name() {
        for (name, expected) in [
            ("tandem-stateful-svc-2.tandem_app.", "stateful-2"),
            ("tandem_stateful-svc_12.tandem_app", "stateful-12"),
            ("tandem-stateful-svc-run-0f3c", "tandem-stateful-svc-run-0f3c"),
            ("web.example.", "web"),
            ("stateful-", "stateful-"),
        ] {
            assert_eq!(numbered("stateful", name), expected);
        }
    }
}
