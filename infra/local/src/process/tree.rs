//! The process tree, from `/proc`.

use std::collections::HashMap;
use std::fs;

use nix::unistd::Pid;

/// All descendants of a process, nearest first, without itself.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in all() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root.as_raw()];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        if let Some(more) = children.remove(pid) {
            found.extend(more);
        }
        next += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// Whether the process runs; a zombie does not.
pub(crate) fn is_alive(pid: Pid) -> bool {
    stat_fields(pid.as_raw()).is_some_and(|fields| !fields.starts_with('Z'))
}

/// The ids of all visible processes.
pub(crate) fn all() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: i32) -> Option<i32> {
    stat_fields(pid)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The fields of `/proc/<pid>/stat` from the state on. The name before them may contain any byte.
fn stat_fields(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}
