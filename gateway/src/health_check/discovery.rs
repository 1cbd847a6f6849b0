//! Discovery by DNS: asks again and again which addresses a pool's name has.
//!
//! Nothing is cached, whatever the answer's time to live says: an answer is as old as the interval at most. The resolver is
//! made anew for each look-up, so it follows `/etc/resolv.conf` without a restart.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, Either, join_all};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{Discovery, ServiceName};
use crate::health_check::prober::Prober;
use crate::pool::{Occasion, Pools};
use crate::telemetry::Telemetry;

/// How often a question is sent within the time of a look-up.
const TRIES: u32 = 2;
/// How long the other version of IP is awaited once one is answered. What comes later is found by the next look-up.
const SECOND_ANSWER: Duration = Duration::from_millis(500);

/// Why a name could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// No answer in time.
    #[error("{name}: no answer in {} ms", timeout.as_millis())]
    TimedOut {
        /// Which name.
        name: ServiceName,
        /// How long was waited.
        timeout: Duration,
    },
    /// The answer has no address. That all instances are gone is possible; that the answer is wrong is likelier.
    #[error("{0}: the name has no address")]
    Empty(ServiceName),
    /// The system's resolver is not configured, or it answered that it cannot tell.
    #[error("{name}: {reason}")]
    Failed {
        /// Which name.
        name: ServiceName,
        /// Why.
        reason: String,
    },
}

/// Looks up every pool's name once, and tells the pools.
pub(super) async fn look_up_all(
    pools: &Pools,
    how: Discovery,
    occasion: Occasion,
    telemetry: &Telemetry,
    prober: Option<&Prober>,
) {
    join_all(pools.iter().map(async |pool| {
        let Some(name) = pool.service_name() else { return };
        let found = look_up(&name, how).await;
        telemetry.looked_up(pool.name(), found.is_ok());
        match found {
            Ok(addrs) => {
                // A newcomer need not wait for the next round of checks.
                if pool.found(addrs, occasion)
                    && let Some(prober) = prober
                {
                    prober.probe_pool(pool).await;
                }
            }
            Err(error) => pool.not_found(error.to_string()),
        }
    }))
    .await;
}

/// Looks them up at every interval, for ever.
pub(super) async fn watch(pools: Arc<Pools>, how: Discovery, telemetry: &Telemetry, prober: &Prober) {
    let mut ticks = interval(how.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look_up_all(&pools, how, Occasion::Later, telemetry, Some(prober)).await;
    }
}

/// Every address of a name, of either version of IP.
///
/// Each version is a question of its own. A server that answers one of them and never the other is common, and its answer
/// is used: after an answer with addresses the other is awaited for [`SECOND_ANSWER`] alone.
///
/// # Errors
/// When there is none, or no good answer in time.
async fn look_up(name: &ServiceName, how: Discovery) -> Result<Vec<SocketAddr>, LookupError> {
    let v4 = pin!(look_up_version(name, how, LookupIpStrategy::Ipv4Only));
    let v6 = pin!(look_up_version(name, how, LookupIpStrategy::Ipv6Only));
    let late = |_| Err(LookupError::TimedOut { name: name.clone(), timeout: how.timeout });
    let (first, second) = match future::select(v4, v6).await {
        Either::Left((first @ Ok(_), v6)) => (first, timeout(SECOND_ANSWER, v6).await.unwrap_or_else(late)),
        Either::Right((first @ Ok(_), v4)) => (first, timeout(SECOND_ANSWER, v4).await.unwrap_or_else(late)),
        Either::Left((first @ Err(_), v6)) => (first, v6.await),
        Either::Right((first @ Err(_), v4)) => (first, v4.await),
    };
    match (first, second) {
        // Of names by different search domains, the one that was answered first is the one.
        (Ok(first), Ok(second)) if first.name != second.name => Ok(first.addrs),
        (Ok(first), Ok(second)) => Ok([first.addrs, second.addrs].concat()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found.addrs),
        // That one version has no address tells nothing of the other.
        (Err(LookupError::Empty(_)), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// What was found under a name.
struct Found {
    /// The name in full, as a search domain may have completed it.
    name: Name,
    addrs: Vec<SocketAddr>,
}

async fn look_up_version(name: &ServiceName, how: Discovery, version: LookupIpStrategy) -> Result<Found, LookupError> {
    let failed = |reason: String| LookupError::Failed { name: name.clone(), reason };
    let resolver = resolver(how, version).map_err(|error| failed(error.to_string()))?;
    // By its bytes: as a host name of the Internet, one with an underscore would be refused.
    let host = Name::from_ascii(&name.host).map_err(|error| failed(error.to_string()))?;
    let found = match timeout(how.timeout, resolver.lookup_ip(host)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) if error.is_no_records_found() => return Err(LookupError::Empty(name.clone())),
        Ok(Err(NetError::Timeout)) | Err(_) => {
            return Err(LookupError::TimedOut { name: name.clone(), timeout: how.timeout });
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
    };
    // An address that nobody can connect to is a fault of whoever wrote it, and no instance.
    let usable = found.iter().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let addrs: Vec<_> = usable.map(|ip| SocketAddr::new(ip, name.port)).collect();
    if addrs.is_empty() {
        return Err(LookupError::Empty(name.clone()));
    }
    Ok(Found { name: found.query().name().clone(), addrs })
}

fn resolver(how: Discovery, version: LookupIpStrategy) -> Result<TokioResolver, NetError> {
    let mut builder = match how.resolver {
        None => TokioResolver::builder_tokio()?,
        Some(addr) => {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = addr.port();
                connection
            };
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(on_port).into();
            let server = NameServerConfig::new(addr.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
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
