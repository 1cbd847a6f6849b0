//! The data folders of the Redis servers. Each topology has its own: a cluster node that loads keys
//! of another topology claims their slots, and the cluster never forms. `redis` and `hybrid` share
//! the sessions, since they write the same keys; `memory` writes none.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::topology::Topology;

/// Servers below the Sentinels: a master and two replicas.
pub(super) const SENTINEL_NODES: u16 = 3;
/// Two of them must agree that the master is down.
pub(super) const SENTINELS: u16 = 3;
/// Servers of a cluster: the masters first, then their replicas in the same order.
pub(super) const CLUSTER_NODES: u16 = 6;
/// Marks a cluster that has formed once. Without it no session was ever written there.
const JOINED: &str = "joined";
/// Folder for data that no topology can use.
const UNUSED: &str = "redis-unused";

/// The servers and Sentinels of a topology.
pub(super) fn components(topology: Topology) -> Vec<Component> {
    let nodes = |count| (1..=count).map(Component::RedisNode);
    match topology {
        Topology::Single => vec![Component::RedisSessions],
        Topology::Sentinel => {
            nodes(SENTINEL_NODES).chain((1..=SENTINELS).map(Component::Sentinel)).collect()
        }
        Topology::Cluster => nodes(CLUSTER_NODES).collect(),
    }
}

/// The folder of a server.
pub(super) fn folder(state: &Path, topology: Topology, component: Component) -> PathBuf {
    match (component, topology) {
        (Component::RedisCache, _) | (_, Topology::Single) => state.join(component.to_string()),
        (_, topology) => of_topology(state, topology).join(component.to_string()),
    }
}

/// Makes the folder of a server. Its files contain the sessions, so its mode is 0700.
pub(super) fn make_folder(
    state: &Path,
    topology: Topology,
    component: Component,
) -> Result<PathBuf, StackError> {
    let dir = folder(state, topology, component);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .attempt(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

fn of_topology(state: &Path, topology: Topology) -> PathBuf {
    state.join(format!("redis-{}", topology.as_str()))
}

/// Prepares the folders: migrates an older layout, and removes a cluster that was interrupted
/// before it had formed. Returns notes for the operator.
///
/// # Errors
/// [`StackError::Io`] when a folder cannot be moved, [`StackError::Tool`] when there are two for
/// one server.
pub(super) fn prepare(state: &Path, topology: Topology) -> Result<Vec<String>, StackError> {
    let notes = migrate_older_layout(state)?;
    let cluster = of_topology(state, Topology::Cluster);
    if topology == Topology::Cluster && cluster.is_dir() && !cluster.join(JOINED).exists() {
        fs::remove_dir_all(&cluster).attempt(|| format!("remove {}", cluster.display()))?;
    }
    Ok(notes)
}

/// Records that the cluster has formed.
pub(super) fn note_joined(state: &Path) -> Result<(), StackError> {
    let note = of_topology(state, Topology::Cluster).join(JOINED);
    fs::write(&note, "").attempt(|| format!("write {}", note.display()))
}

/// Older versions kept all topologies in one folder, with the same names for nodes of both. If it
/// holds Sentinels, the nodes are theirs: a cluster started over them never formed.
fn migrate_older_layout(state: &Path) -> Result<Vec<String>, StackError> {
    let older = |topology| -> Vec<Component> {
        components(topology)
            .into_iter()
            .filter(|component| state.join(component.to_string()).is_dir())
            .collect()
    };
    let of_sentinel = older(Topology::Sentinel);
    let watched = of_sentinel.iter().any(|component| matches!(component, Component::Sentinel(_)));
    let mut notes = Vec::new();
    // The Sentinels move last: while one is there, the nodes are recognized as theirs.
    let owners: &[(Topology, PathBuf)] = if watched {
        &[
            (Topology::Cluster, state.join(UNUSED)),
            (Topology::Sentinel, of_topology(state, Topology::Sentinel)),
        ]
    } else {
        &[(Topology::Cluster, of_topology(state, Topology::Cluster))]
    };
    for (topology, target) in owners {
        let of_others = |component: &Component| {
            watched && *topology == Topology::Cluster && of_sentinel.contains(component)
        };
        let folders: Vec<_> =
            older(*topology).into_iter().filter(|component| !of_others(component)).collect();
        if folders.is_empty() {
            continue;
        }
        fs::create_dir_all(target).attempt(|| format!("make {}", target.display()))?;
        if *target == of_topology(state, Topology::Cluster) {
            note_joined(state)?;
        }
        for component in folders {
            let (from, to) =
                (state.join(component.to_string()), target.join(component.to_string()));
            if to.exists() {
                let detail = format!(
                    "{} and {} hold data of the same server: remove one of them",
                    from.display(),
                    to.display()
                );
                return Err(StackError::Tool {
                    what: "moving the data of an older version",
                    detail,
                });
            }
            fs::rename(&from, &to)
                .attempt(|| format!("move {} to {}", from.display(), to.display()))?;
        }
        notes.push(format!("Redis data of an older version was moved to {}", target.display()));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_absent(path: &Path) -> bool {
        !path.exists()
    }

    const ALL: [Topology; 3] = [Topology::Single, Topology::Sentinel, Topology::Cluster];

    fn folders(state: &Path, topology: Topology) -> Vec<PathBuf> {
        components(topology)
            .into_iter()
            .map(|component| folder(state, topology, component))
            .collect()
    }

    /// The data that a topology writes.
    fn run(state: &Path, topology: Topology) {
        prepare(state, topology).expect("prepared");
        for (component, dir) in components(topology).into_iter().zip(folders(state, topology)) {
            fs::create_dir_all(&dir).expect("made");
            let data = dir.join("data");
            let mine = format!("{component} of {topology:?}");
            assert!(
                is_absent(&data) || fs::read_to_string(&data).expect("read") == mine,
                "foreign data in {dir:?}"
            );
            fs::write(data, mine).expect("written");
        }
        if topology == Topology::Cluster {
            note_joined(state).expect("noted");
        }
    }

    fn is_whole(state: &Path, topology: Topology) -> bool {
        folders(state, topology).iter().all(|dir| dir.join("data").exists())
    }

    #[test]
    fn each_topology_keeps_its_data_in_any_order_of_use() {
        for first in ALL {
            for second in ALL {
                for third in ALL {
                    let state = tempfile::tempdir().expect("a folder");
                    for topology in [first, second, third, first] {
                        run(state.path(), topology);
                    }
                    for topology in [first, second, third] {
                        assert!(
                            is_whole(state.path(), topology),
                            "{first:?} {second:?} {third:?}: {topology:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_cluster_that_never_formed_is_removed() {
        let state = tempfile::tempdir().expect("a folder");
        run(state.path(), Topology::Cluster);
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_whole(state.path(), Topology::Cluster), "it has served");
        fs::remove_file(state.path().join("redis-cluster").join(JOINED)).expect("removed");
        // Another topology does not touch it.
        prepare(state.path(), Topology::Single).expect("prepared");
        assert!(is_whole(state.path(), Topology::Cluster));
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_absent(&state.path().join("redis-cluster")));
    }

    #[test]
    fn folders_of_an_older_version_move_to_their_topology() {
        let older = |state: &Path, components: &[Component]| {
            for component in components {
                let dir = state.join(component.to_string());
                fs::create_dir_all(&dir).expect("made");
                fs::write(dir.join("data"), "").expect("written");
            }
        };
        for topology in [Topology::Sentinel, Topology::Cluster] {
            let state = tempfile::tempdir().expect("a folder");
            older(state.path(), &components(topology));
            let notes = prepare(state.path(), topology).expect("prepared");
            assert!(is_whole(state.path(), topology), "{topology:?}");
            assert_eq!(notes.len(), 1, "{notes:?}");
            assert_eq!(prepare(state.path(), topology).expect("prepared"), Vec::<String>::new());
        }
        // A cluster was started over the data of Sentinels, which hold all acknowledged sessions.
        let state = tempfile::tempdir().expect("a folder");
        older(state.path(), &components(Topology::Sentinel));
        older(state.path(), &components(Topology::Cluster));
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_whole(state.path(), Topology::Sentinel));
        assert!(is_absent(&state.path().join("redis-cluster")), "the cluster starts from scratch");
        assert!(state.path().join(UNUSED).join("redis-sessions-6").is_dir());
        // Data of one server in both places: neither is removed.
        older(state.path(), &[Component::Sentinel(1), Component::RedisNode(1)]);
        let error = prepare(state.path(), Topology::Sentinel).expect_err("refused").to_string();
        assert!(
            error.contains("redis-sentinel/redis-sessions-1") && error.contains("remove one"),
            "{error}"
        );
    }
}
