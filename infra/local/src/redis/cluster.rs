//! A cluster of three masters with a replica each.

use super::command;
use super::layout::CLUSTER_NODES;
use crate::error::StackError;
use crate::settings::Settings;

const MASTERS: u16 = 3;
/// Slots of a cluster, from its specification.
const SLOTS: u16 = 16_384;

/// Arguments of a cluster node. After a diskless transfer the master may miss the replica's first
/// acknowledgement, and then sends it no writes for up to a second, though the replica reports its
/// link as up.
pub(super) fn node_args(settings: &Settings, number: u16) -> Vec<String> {
    let bus = settings.ports.redis_bus(number);
    let args = format!(
        "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 \
         --cluster-port {bus} --cluster-allow-replica-migration no --repl-diskless-sync no"
    );
    args.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Connects the servers, assigns unassigned slots to the masters, and waits until each serves. An
/// existing cluster keeps its replicas.
pub(super) async fn join(settings: &Settings) -> Result<(), StackError> {
    let port = |number| settings.ports.redis_node(number);
    let is_new = command::send(port(1), "CLUSTER INFO")
        .await
        .is_ok_and(|info| info.contains("cluster_slots_assigned:0"));
    if is_new {
        for number in 1..=MASTERS {
            let share = SLOTS / MASTERS;
            let first = share * (number - 1);
            let last = if number == MASTERS { SLOTS - 1 } else { first + share - 1 };
            command::execute(port(number), &format!("CLUSTER ADDSLOTSRANGE {first} {last}"))
                .await?;
        }
        for number in 1..=CLUSTER_NODES {
            command::execute(port(number), &format!("CLUSTER SET-CONFIG-EPOCH {number}")).await?;
        }
    }
    // Also in an existing cluster: the ports may have changed.
    for number in 2..=CLUSTER_NODES {
        let meet =
            format!("CLUSTER MEET 127.0.0.1 {} {}", port(number), settings.ports.redis_bus(number));
        command::execute(port(1), &meet).await?;
    }
    let all = format!("cluster_known_nodes:{CLUSTER_NODES}");
    for number in 1..=CLUSTER_NODES {
        command::wait_for(port(number), "CLUSTER INFO", &[&all, "cluster_state:ok"]).await?;
    }
    if is_new {
        for number in 1..=MASTERS {
            let reply = command::send(port(number), "CLUSTER MYID").await.unwrap_or_default();
            let id = reply.lines().nth(1).unwrap_or_default().to_owned();
            command::execute(port(number + MASTERS), &format!("CLUSTER REPLICATE {id}")).await?;
        }
        for number in MASTERS + 1..=CLUSTER_NODES {
            command::wait_for(
                port(number),
                "INFO replication",
                &["role:slave", "master_link_status:up"],
            )
            .await?;
        }
    }
    Ok(())
}
