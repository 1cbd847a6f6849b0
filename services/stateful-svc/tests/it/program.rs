//! The service as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A process of the service, with its log.
pub(crate) struct Program {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    pub(crate) addr: SocketAddr,
    log: Vec<Value>,
}

impl Program {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stateful-svc"))
            .env_clear()
            .envs([("SHUTDOWN_ANNOUNCE_S", "0"), ("LISTEN_ADDR", "127.0.0.1:0"), ("WORKERS", "1")])
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut log = Vec::new();
        let addr = loop {
            let mut line = String::new();
            assert_ne!(
                stdout.read_line(&mut line).expect("text"),
                0,
                "it exited before it listened"
            );
            let line: Value = serde_json::from_str(&line).expect("a line of JSON");
            let addr = line["addr"].as_str().map(|addr| addr.parse().expect("an address"));
            log.push(line);
            if let Some(addr) = addr {
                break addr;
            }
        };
        Self { process, stdout, addr, log }
    }

    /// Pauses the process until [`Program::resume`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it is running");
    }

    /// Stops it, waits for its exit, and returns the log.
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.terminate();
        let mut log = std::mem::take(&mut self.log);
        for line in (&mut self.stdout).lines() {
            log.push(serde_json::from_str(&line.expect("text")).expect("a line of JSON"));
        }
        assert!(self.process.wait().expect("it has ended").success());
        log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited_for = self.process.wait();
    }
}

/// Runs the program with this argument and these settings; returns exit code and output.
fn run_with(argument: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stateful-svc"));
    let output =
        command.env_clear().envs(settings.iter().copied()).arg(argument).output().expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn the_program_probes_its_own_instance() {
    let redis = [("SESSION_REDIS_URL", "redis://127.0.0.1:1")];
    let program = Program::start(&redis);
    let addr = program.addr.to_string();
    let settings = [("LISTEN_ADDR", addr.as_str()), redis[0]];
    assert_eq!(
        run_with("--health", &settings),
        (Some(0), String::new()),
        "alive, although Redis is unavailable"
    );
    let (status, text) = run_with("--ready", &settings);
    assert!(
        status == Some(1) && text.contains("503") && text.contains("session_store"),
        "{status:?} {text}"
    );
    program.stop();
    assert_eq!(run_with("--health", &settings).0, Some(1));
}

#[test]
fn help_and_version_are_printed() {
    let (status, text) = run_with("--help", &[]);
    assert!(
        status == Some(0) && text.contains("--health") && text.contains("docs/SETTINGS.md"),
        "{text}"
    );
    assert!(run_with("--version", &[]).1.starts_with("stateful-svc "));
    assert_eq!(run_with("--heatlh", &[]).0, Some(2), "an unknown option");
}
