//! The program as operators run it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The program itself, whose log can be read.
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
            assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "it ended before it listened");
            let line: Value = serde_json::from_str(&line).expect("a line of JSON");
            let addr = line["addr"].as_str().map(|addr| addr.parse().expect("an address"));
            log.push(line);
            if let Some(addr) = addr {
                break addr;
            }
        };
        Self { process, stdout, addr, log }
    }

    /// Stops it as a debugger would, until [`Program::resume`].
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

    /// Asks it to stop, as an operator would.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it is running");
    }

    /// Stops it, waits for its end, and gives the log.
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

/// What the program says when it is run with this argument and these settings, and ends by itself.
fn asked(argument: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stateful-svc"));
    let output = command.env_clear().envs(settings.iter().copied()).arg(argument).output().expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn an_instance_is_asked_for_its_health_by_its_own_program() {
    let redis = [("SESSION_REDIS_URL", "redis://127.0.0.1:1")];
    let program = Program::start(&redis);
    let addr = program.addr.to_string();
    let settings = [("LISTEN_ADDR", addr.as_str()), redis[0]];
    assert_eq!(asked("--health", &settings), (Some(0), String::new()), "alive, whatever else is away");
    let (status, told) = asked("--ready", &settings);
    assert!(status == Some(1) && told.contains("503") && told.contains("session_store"), "{status:?} {told}");
    program.stop();
    assert_eq!(asked("--health", &settings).0, Some(1));
}

#[test]
fn the_command_line_explains_itself() {
    let (status, told) = asked("--help", &[]);
    assert!(status == Some(0) && told.contains("--health") && told.contains("docs/SETTINGS.md"), "{told}");
    assert!(asked("--version", &[]).1.starts_with("stateful-svc "));
    assert_eq!(asked("--heatlh", &[]).0, Some(2), "what is no option is told");
}
