//! The process that listens on a port, from `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::process::all_processes;

/// The process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    process: Option<(String, i32)>,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((name, pid)) => write!(f, "{name} (pid {pid})"),
            None => f.write_str("a process of another user"),
        }
    }
}

/// Finds the process behind a listening TCP port.
pub(crate) fn of(port: u16) -> PortOwner {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening_socket(line, port)).collect::<Vec<_>>()
        })
        .collect();
    let process =
        all_processes().find(|&pid| holds_any(pid, &sockets)).map(|pid| (name_of(pid), pid));
    PortOwner { process }
}

/// The target of a descriptor's link to this line's socket, if that listens on the port.
fn listening_socket(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, LISTEN, ..] = fields.as_slice() else { return None };
    let (_, local_port) = local.rsplit_once(':')?;
    let inode = fields.get(9)?;
    (u16::from_str_radix(local_port, 16) == Ok(port)).then(|| format!("socket:[{inode}]"))
}

fn holds_any(pid: i32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "a process".to_owned(), |name| name.trim().to_owned())
}
