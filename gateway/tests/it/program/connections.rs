//! Connections that clients only hold: what they cost, and what is left of the descriptors.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use proto_contracts::control::{InstanceState, Pools};

use super::{Process, program};
use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::SESSIONS;
use crate::upstream::Upstream;

/// The program with a limit of descriptors that it cannot raise.
fn with_descriptors(limit: usize, config: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]);
    command.args([env!("CARGO_BIN_EXE_gateway"), "--config"]).arg(config);
    command
}

/// What a connection may cost that sends nothing, in bytes of resident memory. The debug build that
/// tests run takes 16 KB; the kernel's buffers are no part of it. With a read buffer of its own
/// each took 81 KB.
const MOST_OF_A_SILENT_ONE: usize = 32 * 1024;

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
        eventually("all have a place", || {
            (process.figure("gateway_client_connections")? >= most).then_some(())
        });
    };
    // What the first connections make the process set up once.
    let first: Vec<_> =
        (0..50).map(|_| Connection::open(process.addr).expect("connects")).collect();
    open(first.len());
    let before = resident();
    let silent: Vec<_> =
        (0..SILENT).map(|_| TcpStream::connect(process.addr).expect("connects")).collect();
    open(first.len() + SILENT);
    let each = resident().saturating_sub(before) / silent.len();
    eprintln!("a silent connection takes {each} bytes");
    assert!(each <= MOST_OF_A_SILENT_ONE, "a silent connection takes {each} bytes");
}

/// Silent clients that want more descriptors than there are.
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
    let refused = "gateway_client_connections_refused_total{bound=\"all\"}";
    eventually("further ones are refused", || (process.figure(refused)? > 0).then_some(()));
    // The checks of both pools: more than would have to fail in a row.
    let checks = upstream.health_checks();
    eventually("it is checked as before", || {
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
fn more_connections_than_descriptors_are_not_promised() {
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
