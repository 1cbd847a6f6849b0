//! Discovery by DNS: resolves the pools' names at an interval.
//!
//! TTLs are ignored: the interval is the maximum age. Each lookup uses a new resolver, so changes
//! of `/etc/resolv.conf` need no restart.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, Either, join_all};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{DiscoveryConfig, ServiceName};
use crate::health_check::prober::Prober;
use crate::pool::{LookupPhase, Pools};
use crate::telemetry::Telemetry;

/// Queries within the timeout of a lookup.
const TRIES: u32 = 2;
/// How long the second address family is awaited after the first response.
const SECOND_FAMILY_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a lookup failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No response in time.
    #[error("{name}: timed out after {} ms", timeout.as_millis())]
    TimedOut {
        /// The name.
        name: ServiceName,
        /// The timeout.
        timeout: Duration,
    },
    /// The response has no address, which is more likely wrong than that all instances are gone.
    #[error("{0}: the name has no address")]
    Empty(ServiceName),
    /// The resolver is not configured, or returned an error.
    #[error("{name}: {reason}")]
    Failed {
        /// The name.
        name: ServiceName,
        /// Why.
        reason: String,
    },
}

/// Resolves each pool's name once and updates the pools.
pub(super) async fn lookup_all(
    pools: &Pools,
    how: DiscoveryConfig,
    phase: LookupPhase,
    telemetry: &Telemetry,
    prober: Option<&Prober>,
) {
    join_all(pools.iter().map(async |pool| {
        let Some(name) = pool.service_name() else { return };
        let found = lookup(&name, how).await;
        telemetry.count_lookup(pool.name(), found.is_ok());
        match found {
            Ok(addrs) => {
                // New instances are checked at once.
                if pool.lookup_succeeded(addrs, phase)
                    && let Some(prober) = prober
                {
                    prober.probe_pool(pool).await;
                }
            }
            Err(error) => pool.lookup_failed(error.to_string()),
        }
    }))
    .await;
}

/// Resolves all names at every interval, forever.
pub(super) async fn watch(
    pools: Arc<Pools>,
    how: DiscoveryConfig,
    telemetry: &Telemetry,
    prober: &Prober,
) {
    let mut ticks = interval(how.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        lookup_all(&pools, how, LookupPhase::Later, telemetry, Some(prober)).await;
    }
}

/// All IPv4 and IPv6 addresses of a name.
///
/// Each family is a separate query, and some servers respond to only one of them. After a response
/// with addresses the other is awaited for half a second.
///
/// # Errors
/// When there is no address, or no valid response in time.
pub async fn lookup(
    name: &ServiceName,
    how: DiscoveryConfig,
) -> Result<Vec<SocketAddr>, LookupError> {
    let v4 = pin!(lookup_version(name, how, LookupIpStrategy::Ipv4Only));
    let v6 = pin!(lookup_version(name, how, LookupIpStrategy::Ipv6Only));
    let late = |_| Err(LookupError::TimedOut { name: name.clone(), timeout: how.timeout });
    let (first, second) = match future::select(v4, v6).await {
        Either::Left((first @ Ok(_), v6)) => {
            (first, timeout(SECOND_FAMILY_TIMEOUT, v6).await.unwrap_or_else(late))
        }
        Either::Right((first @ Ok(_), v4)) => {
            (first, timeout(SECOND_FAMILY_TIMEOUT, v4).await.unwrap_or_else(late))
        }
        Either::Left((first @ Err(_), v6)) => (first, v6.await),
        Either::Right((first @ Err(_), v4)) => (first, v4.await),
    };
    match (first, second) {
        // With different search domains, the first response wins.
        (Ok(first), Ok(second)) if first.name != second.name => Ok(first.addrs),
        (Ok(first), Ok(second)) => Ok([first.addrs, second.addrs].concat()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found.addrs),
        // An empty response for one family does not hide the error of the other.
        (Err(LookupError::Empty(_)), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// The result of a lookup.
struct Addresses {
    /// The full name, possibly with a search domain.
    name: Name,
    addrs: Vec<SocketAddr>,
}

async fn lookup_version(
    name: &ServiceName,
    how: DiscoveryConfig,
    version: LookupIpStrategy,
) -> Result<Addresses, LookupError> {
    let failed = |reason: String| LookupError::Failed { name: name.clone(), reason };
    let resolver = resolver(how, version).map_err(|error| failed(error.to_string()))?;
    // From ASCII, because host name rules would reject an underscore.
    let host = Name::from_ascii(&name.host).map_err(|error| failed(error.to_string()))?;
    let found = match timeout(how.timeout, resolver.lookup_ip(host)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) if error.is_no_records_found() => {
            return Err(LookupError::Empty(name.clone()));
        }
        Ok(Err(NetError::Timeout)) | Err(_) => {
            return Err(LookupError::TimedOut { name: name.clone(), timeout: how.timeout });
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
    };
    // Addresses that cannot be connected to are wrong records.
    let usable = found.iter().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let addrs: Vec<_> = usable.map(|ip| SocketAddr::new(ip, name.port)).collect();
    if addrs.is_empty() {
        return Err(LookupError::Empty(name.clone()));
    }
    Ok(Addresses { name: found.query().name().clone(), addrs })
}

fn resolver(how: DiscoveryConfig, version: LookupIpStrategy) -> Result<TokioResolver, NetError> {
    let mut builder = match how.resolver {
        None => TokioResolver::builder_tokio()?,
        Some(addr) => {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = addr.port();
                connection
            };
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(on_port).into();
            let server = NameServerConfig::new(addr.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = ResolverOpts::default();
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = version;
    options.timeout = how.timeout / TRIES;
    options.attempts = TRIES as usize - 1;
    builder.build()
}
