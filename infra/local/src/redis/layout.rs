//! Where the Redis servers keep their data. Each topology has a folder of its own: a server that becomes a node of a
//! cluster with keys of another topology in its files claims their slots, and the cluster never comes together.
//! `redis` and `hybrid` share the sessions, since they write the same keys; `memory` writes none.

use std::fs;
use std::path::{Path, PathBuf};

use super::{cluster, sentinel};
use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::plan::Topology;

/// In the cluster's folder since its servers first came together. Without it no session was ever written there.
const JOINED: &str = "joined";
/// Where files go that no topology can use.
const UNUSED: &str = "redis-unused";

/// The servers that hold the sessions, and those that watch over them.
pub(super) fn components(topology: Topology) -> Vec<Component> {
    let nodes = |count| (1..=count).map(Component::RedisNode);
    match topology {
        Topology::Single => vec![Component::RedisSessions],
        Topology::Sentinel => {
            nodes(sentinel::NODES).chain((1..=sentinel::SENTINELS).map(Component::Sentinel)).collect()
        }
        Topology::Cluster => nodes(cluster::NODES).collect(),
    }
}

/// The folder of a server.
pub(super) fn folder(state: &Path, topology: Topology, component: Component) -> PathBuf {
    match (component, topology) {
        (Component::RedisCache, _) | (_, Topology::Single) => state.join(component.to_string()),
        (_, topology) => of_topology(state, topology).join(component.to_string()),
    }
}

fn of_topology(state: &Path, topology: Topology) -> PathBuf {
    state.join(format!("redis-{}", topology.as_str()))
}

/// Makes the folders fit for a start: moves those of an older layout, and throws away a cluster that was interrupted
/// before its servers came together for the first time. Returns what an operator should know.
///
/// # Errors
/// [`StackError::Io`] when a folder cannot be moved, [`StackError::Tool`] when there are two for one server.
pub(super) fn prepare(state: &Path, topology: Topology) -> Result<Vec<String>, StackError> {
    let notes = adopt_older(state)?;
    let cluster = of_topology(state, Topology::Cluster);
    if topology == Topology::Cluster && cluster.is_dir() && !cluster.join(JOINED).exists() {
        fs::remove_dir_all(&cluster).attempt(|| format!("remove {}", cluster.display()))?;
    }
    Ok(notes)
}

/// Notes that the cluster's servers have come together.
pub(super) fn note_joined(state: &Path) -> Result<(), StackError> {
    let note = of_topology(state, Topology::Cluster).join(JOINED);
    fs::write(&note, "").attempt(|| format!("write {}", note.display()))
}

/// Once all topologies kept their data beside each other, the nodes of both under the same names. Where Sentinels have
/// been, the nodes are theirs: a cluster that was started over them never came together.
fn adopt_older(state: &Path) -> Result<Vec<String>, StackError> {
    let older = |topology| -> Vec<Component> {
        components(topology).into_iter().filter(|component| state.join(component.to_string()).is_dir()).collect()
    };
    let of_sentinel = older(Topology::Sentinel);
    let watched = of_sentinel.iter().any(|component| matches!(component, Component::Sentinel(_)));
    let mut notes = Vec::new();
    // The Sentinels go last: as long as one is there, the nodes are known to be theirs.
    let owners: &[(Topology, PathBuf)] = if watched {
        &[(Topology::Cluster, state.join(UNUSED)), (Topology::Sentinel, of_topology(state, Topology::Sentinel))]
    } else {
        &[(Topology::Cluster, of_topology(state, Topology::Cluster))]
    };
    for (topology, target) in owners {
        let of_others =
            |component: &Component| watched && *topology == Topology::Cluster && of_sentinel.contains(component);
        let folders: Vec<_> = older(*topology).into_iter().filter(|component| !of_others(component)).collect();
        if folders.is_empty() {
            continue;
        }
        fs::create_dir_all(target).attempt(|| format!("make {}", target.display()))?;
        if *target == of_topology(state, Topology::Cluster) {
            note_joined(state)?;
        }
        for component in folders {
            let (from, to) = (state.join(component.to_string()), target.join(component.to_string()));
            if to.exists() {
                let detail =
                    format!("{} and {} are data of one server: remove one of them", from.display(), to.display());
                return Err(StackError::Tool { what: "moving the data of an older version", detail });
            }
            fs::rename(&from, &to).attempt(|| format!("move {} to {}", from.display(), to.display()))?;
        }
        notes.push(format!("what an older version kept of redis was moved to {}", target.display()));
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
        components(topology).into_iter().map(|component| folder(state, topology, component)).collect()
    }

    /// What a topology leaves behind when it has run.
    fn run(state: &Path, topology: Topology) {
        prepare(state, topology).expect("prepared");
        for (component, dir) in components(topology).into_iter().zip(folders(state, topology)) {
            fs::create_dir_all(&dir).expect("made");
            let data = dir.join("data");
            let mine = format!("{component} of {topology:?}");
            assert!(is_absent(&data) || fs::read_to_string(&data).expect("read") == mine, "foreign data in {dir:?}");
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
    fn in_every_order_each_topology_finds_its_own_data_again() {
        for first in ALL {
            for second in ALL {
                for third in ALL {
                    let state = tempfile::tempdir().expect("a folder");
                    for topology in [first, second, third, first] {
                        run(state.path(), topology);
                    }
                    for topology in [first, second, third] {
                        assert!(is_whole(state.path(), topology), "{first:?} {second:?} {third:?}: {topology:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_cluster_that_never_came_together_begins_again() {
        let state = tempfile::tempdir().expect("a folder");
        run(state.path(), Topology::Cluster);
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_whole(state.path(), Topology::Cluster), "it has served");
        fs::remove_file(state.path().join("redis-cluster").join(JOINED)).expect("removed");
        // Another topology leaves it alone.
        prepare(state.path(), Topology::Single).expect("prepared");
        assert!(is_whole(state.path(), Topology::Cluster));
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_absent(&state.path().join("redis-cluster")));
    }

    #[test]
    fn the_folders_of_an_older_version_become_those_of_their_topology() {
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
        // A cluster was tried over the data of Sentinels, whose sessions are the ones that were ever acknowledged.
        let state = tempfile::tempdir().expect("a folder");
        older(state.path(), &components(Topology::Sentinel));
        older(state.path(), &components(Topology::Cluster));
        prepare(state.path(), Topology::Cluster).expect("prepared");
        assert!(is_whole(state.path(), Topology::Sentinel));
        assert!(is_absent(&state.path().join("redis-cluster")), "the cluster begins anew");
        assert!(state.path().join(UNUSED).join("redis-sessions-6").is_dir());
        // Two of one: neither is thrown away.
        older(state.path(), &[Component::Sentinel(1), Component::RedisNode(1)]);
        let error = prepare(state.path(), Topology::Sentinel).expect_err("refused").to_string();
        assert!(error.contains("redis-sentinel/redis-sessions-1") && error.contains("remove one"), "{error}");
    }
}
