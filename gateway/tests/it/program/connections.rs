//! Idle connections: their memory, and the file descriptors that remain.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use proto_contracts::control::{InstanceState, Pools};

use super::{Process, program};
use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::SESSIONS;
use crate::upstream::Upstream;

/// The program with a limit of file descriptors that it cannot raise.
fn with_descriptors(limit: usize, config: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]);
    command.args([env!("CARGO_BIN_EXE_gateway"), "--config"]).arg(config);
    command
}

/// Most resident memory of a connection that sends nothing, in bytes, without the kernel's buffers.
/// The debug build of the tests uses 16 KB; with a read buffer for each connection it was 81 KB.
const MAX_BYTES_PER_CONNECTION: usize = 32 * 1024;

#[test]
fn a_silent_connection_holds_no_buffer() {
    const SILENT: usize = 2_000;
    let upstream = Upstream::start("stateful-1");
    let process = Process::start(&upstream, "");
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.child.id()))
            .expect("it runs");
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
    };
    let open = |most: usize| {
        eventually("all are accepted", || {
            (process.figure("gateway_client_connections")? >= most).then_some(())
        });
    };
    // One-time allocations.
    let first: Vec<_> =
        (0..50).map(|_| Connection::open(process.addr).expect("connects")).collect();
    open(first.len());
    let before = resident();
    let silent: Vec<_> =
        (0..SILENT).map(|_| TcpStream::connect(process.addr).expect("connects")).collect();
    open(first.len() + SILENT);
    let each = resident().saturating_sub(before) / silent.len();
    eprintln!("a silent connection takes {each} bytes");
    assert!(each <= MAX_BYTES_PER_CONNECTION, "a silent connection takes {each} bytes");
}

/// Idle clients, more than there are file descriptors.
#[test]
fn descriptors_are_left_for_instances_and_health_checks() {
    const DESCRIPTORS: usize = 340;
    let upstream = Upstream::start("stateful-1");
    let often = "[health]\ninterval_ms = 500\ntimeout_ms = 500";
    let process =
        Process::start_by(|config| with_descriptors(DESCRIPTORS, config), &upstream, often, |_| {});
    let mut kept = Connection::open(process.addr).expect("connects");
    assert_eq!(kept.send(&Request::post(SESSIONS)).status, 200);
    let silent: Vec<_> =
        (0..2 * DESCRIPTORS).map(|_| TcpStream::connect(process.addr).expect("connects")).collect();
    let rejected = "gateway_client_connections_refused_total{bound=\"all\"}";
    eventually("further ones are rejected", || (process.figure(rejected)? > 0).then_some(()));
    // Checks of both pools, more than the threshold.
    let checks = upstream.health_checks();
    eventually("the health checks continue", || {
        (upstream.health_checks() >= checks + 10).then_some(())
    });
    let pools: Pools =
        serde_json::from_str(&process.control("/control/v1/pools")).expect("the pools");
    let states = pools.pools.iter().flat_map(|pool| &pool.instances).map(|instance| instance.state);
    assert_eq!(states.collect::<Vec<_>>(), [InstanceState::Healthy; 2]);
    assert_eq!(kept.send(&Request::post(SESSIONS)).status, 200);
    drop(silent);
}

#[test]
fn a_limit_above_the_file_descriptors_is_an_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        file.path(),
        "[clients]\nmax_connections = 2000000000\n[server]\nlisten = '127.0.0.1:0'\n[control]\n\
         listen = '127.0.0.1:0'",
    )
    .expect("writes");
    let output = program(file.path()).output().expect("runs");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert!(
        !output.status.success() && text.contains("max_connections") && text.contains("nofile"),
        "{text}"
    );
}
