//! The components of a stack and their names.

use std::fmt;
use std::str::FromStr;

use proto_contracts::PoolName;

/// One component of a stack, in start order: data first, edge last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Component {
    /// The database.
    Postgres,
    /// Its standby, if the plan has one.
    PostgresReplica,
    /// The Redis that holds the sessions.
    RedisSessions,
    /// A server of the sessions' replicated or clustered Redis, numbered from 1.
    RedisNode(u16),
    /// A Redis Sentinel, numbered from 1.
    Sentinel(u16),
    /// The Redis that holds the cache.
    RedisCache,
    /// An instance of a service, numbered from 1.
    Instance(PoolName, u16),
    /// The gateway.
    Gateway,
    /// The second gateway, if the plan has two.
    SecondGateway,
    /// The edge proxy.
    Nginx,
    /// The traffic driver, if the plan has one.
    Driver,
    Prometheus,
    /// A Prometheus exporter for a third-party server.
    Exporter(Exporter),
}

/// The server that an exporter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Exporter {
    Redis,
    Postgres,
    Nginx,
}

impl Exporter {
    pub(crate) const ALL: [Self; 3] = [Self::Redis, Self::Postgres, Self::Nginx];
}

impl Component {
    /// The pool, for an instance of a service.
    pub(crate) fn pool(self) -> Option<PoolName> {
        match self {
            Self::Instance(pool, _) => Some(pool),
            _ => None,
        }
    }

    /// Whether it is one of the gateways.
    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::SecondGateway)
    }

    /// The workspace's binary that it runs; `None` for third-party programs.
    pub(crate) fn binary(self) -> Option<&'static str> {
        match self {
            Self::Instance(PoolName::Stateless, _) => Some("stateless-svc"),
            Self::Instance(PoolName::Stateful, _) => Some("stateful-svc"),
            Self::Gateway | Self::SecondGateway => Some("gateway"),
            Self::Driver => Some("loadtest"),
            Self::Postgres
            | Self::PostgresReplica
            | Self::RedisSessions
            | Self::RedisNode(_)
            | Self::Sentinel(_)
            | Self::RedisCache
            | Self::Nginx
            | Self::Prometheus
            | Self::Exporter(_) => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgres"),
            Self::PostgresReplica => f.write_str("postgres-replica"),
            Self::RedisSessions => f.write_str("redis-sessions"),
            Self::RedisNode(number) => write!(f, "redis-sessions-{number}"),
            Self::Sentinel(number) => write!(f, "sentinel-{number}"),
            Self::RedisCache => f.write_str("redis-cache"),
            Self::Instance(pool, number) => write!(f, "{pool}-{number}"),
            Self::Gateway => f.write_str("gateway"),
            Self::SecondGateway => f.write_str("gateway-2"),
            Self::Nginx => f.write_str("nginx"),
            Self::Driver => f.write_str("driver"),
            Self::Prometheus => f.write_str("prometheus"),
            Self::Exporter(Exporter::Redis) => f.write_str("redis-exporter"),
            Self::Exporter(Exporter::Postgres) => f.write_str("postgres-exporter"),
            Self::Exporter(Exporter::Nginx) => f.write_str("nginx-exporter"),
        }
    }
}

/// The text is no component's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownComponent;

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let singles = [
            Self::Postgres,
            Self::PostgresReplica,
            Self::RedisSessions,
            Self::RedisCache,
            Self::Gateway,
            Self::SecondGateway,
            Self::Nginx,
            Self::Driver,
            Self::Prometheus,
        ];
        let mut singles = singles.into_iter().chain(Exporter::ALL.map(Self::Exporter));
        if let Some(component) = singles.find(|component| component.to_string() == name) {
            return Ok(component);
        }
        let (kind, number) = name.rsplit_once('-').ok_or(UnknownComponent)?;
        let number = number.parse().map_err(|_| UnknownComponent)?;
        let component = match kind {
            "redis-sessions" => Self::RedisNode(number),
            "sentinel" => Self::Sentinel(number),
            pool => Self::Instance(pool.parse().map_err(|_| UnknownComponent)?, number),
        };
        // Canonical spelling only: neither `stateful-01` nor `stateful-+1`.
        if component.to_string() == name { Ok(component) } else { Err(UnknownComponent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for component in [
            Component::Postgres,
            Component::PostgresReplica,
            Component::RedisSessions,
            Component::RedisNode(2),
            Component::Sentinel(3),
            Component::RedisCache,
            Component::Instance(PoolName::Stateless, 1),
            Component::Instance(PoolName::Stateful, 12),
            Component::Gateway,
            Component::SecondGateway,
            Component::Nginx,
            Component::Driver,
            Component::Prometheus,
            Component::Exporter(Exporter::Redis),
            Component::Exporter(Exporter::Nginx),
        ] {
            assert_eq!(component.to_string().parse(), Ok(component));
        }
        for bad in [
            "",
            "stateful",
            "stateful-",
            "stateful-01",
            "stateful-+1",
            "redis",
            "gateway-1",
            "gateway-3",
            "x-1",
            "stateful-99999",
        ] {
            assert_eq!(bad.parse::<Component>(), Err(UnknownComponent), "{bad:?}");
        }
    }
}
