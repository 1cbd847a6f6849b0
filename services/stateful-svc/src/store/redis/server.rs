//! The identity of the Redis server that holds a lease.

use std::collections::BTreeSet;

use redis::RedisResult;
use redis::aio::ConnectionLike;

/// Identifies a Redis since its last start or promotion. For a Cluster these are all masters, as a
/// session's node may fail over while a lease's does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Server {
    /// A single server.
    One {
        /// Generated at its start.
        run: String,
        /// Generated at its promotion.
        replication: String,
    },
    /// The ids and epochs of the masters. A failover increments the epoch (and so does the
    /// migration of a hash slot).
    Cluster(BTreeSet<(String, u64)>),
}

impl Server {
    /// The server at the other end of this connection.
    pub(in crate::store) async fn of(connection: &mut impl ConnectionLike) -> RedisResult<Self> {
        let info: String =
            redis::cmd("INFO").arg("server").arg("replication").query_async(connection).await?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(str::to_owned).unwrap_or_default()
        };
        if field("redis_mode") == "cluster" {
            let nodes: String = redis::cmd("CLUSTER").arg("NODES").query_async(connection).await?;
            return Ok(Self::Cluster(nodes.lines().filter_map(master).collect()));
        }
        Ok(Self::One { run: field("run_id"), replication: field("master_replid") })
    }
}

/// The id and epoch in a line of `CLUSTER NODES`, if it is a master's that owns slots:
/// `id address flags its-master ping pong epoch link slots…`.
fn master(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_owner = words.get(2)?.split(',').any(|flag| flag == "master") && words.len() > 8;
    Some(((*words.first()?).to_owned(), words.get(6)?.parse().ok()?)).filter(|_| is_owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_its_masters_that_own_slots() {
        let owner =
            "07c3 127.0.0.1:7000@17000 myself,master - 0 0 3 connected 0-5460 [5461->-67ed]";
        assert_eq!(master(owner), Some(("07c3".to_owned(), 3)));
        for other in [
            "67ed 127.0.0.1:7001@17001 master - 0 0 2 connected",
            "292f 127.0.0.1:7002@17002 slave 07c3 0 0 3 connected",
            "",
        ] {
            assert_eq!(master(other), None, "{other}");
        }
    }
}
