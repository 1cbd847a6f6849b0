//! A cluster of three masters with a replica each.

use super::talk;
use crate::error::StackError;
use crate::plan::Settings;

/// Its servers: the masters first, then their replicas in the same order.
pub(super) const NODES: u16 = 6;
const MASTERS: u16 = 3;
/// Slots of a cluster, by its specification.
const SLOTS: u16 = 16_384;

/// What makes a server a part of a cluster.
pub(super) fn node_args(settings: &Settings, number: u16) -> Vec<String> {
    let bus = settings.ports.redis_bus(number);
    let args = format!(
        "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 1500 --cluster-port {bus} \
         --cluster-allow-replica-migration no --repl-diskless-sync-delay 0"
    );
    args.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Has the servers meet, gives the slots to the masters when nobody has them, and waits until each serves. Who is whose
/// replica the servers remember themselves.
pub(super) async fn join(settings: &Settings) -> Result<(), StackError> {
    let port = |number| settings.ports.redis_node(number);
    let is_new = talk::ask(port(1), "CLUSTER INFO").await.is_ok_and(|info| info.contains("cluster_slots_assigned:0"));
    if is_new {
        for number in 1..=MASTERS {
            let share = SLOTS / MASTERS;
            let first = share * (number - 1);
            let last = if number == MASTERS { SLOTS - 1 } else { first + share - 1 };
            talk::tell(port(number), &format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await?;
        }
        for number in 1..=NODES {
            talk::tell(port(number), &format!("CLUSTER SET-CONFIG-EPOCH {number}")).await?;
        }
    }
    // Also those that know each other: their ports may have been moved.
    for number in 2..=NODES {
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", port(number), settings.ports.redis_bus(number));
        talk::tell(port(1), &meet).await?;
    }
    let all = format!("cluster_known_nodes:{NODES}");
    for number in 1..=NODES {
        talk::until(port(number), "CLUSTER INFO", &[&all, "cluster_state:ok"]).await?;
    }
    if is_new {
        for number in 1..=MASTERS {
            let answer = talk::ask(port(number), "CLUSTER MYID").await.unwrap_or_default();
            let id = answer.lines().nth(1).unwrap_or_default().to_owned();
            talk::tell(port(number + MASTERS), &format!("CLUSTER REPLICATE {id}")).await?;
        }
        for number in MASTERS + 1..=NODES {
            talk::until(port(number), "INFO replication", &["role:slave", "master_link_status:up"]).await?;
        }
    }
    Ok(())
}
