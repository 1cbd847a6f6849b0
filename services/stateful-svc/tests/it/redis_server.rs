//! A Redis server for one test.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

/// A `redis-server` on a Unix socket in a temporary folder, with a synchronous append-only file. It
/// is killed on drop, also when the test panics.
pub(crate) struct RedisServer {
    folder: TempDir,
    process: Child,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = launch(&folder);
        let server = Self { folder, process };
        server.ready().await;
        server
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A connection of the test itself.
    pub(crate) async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// `kill -9`.
    pub(crate) fn crash(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it has ended");
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.process.wait().expect("it has ended");
    }

    /// Restarts it with the same data and socket.
    pub(crate) async fn restart(&mut self) {
        self.process = launch(&self.folder);
        self.ready().await;
    }

    /// Pauses it, with its connections open, until [`RedisServer::resume`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it is running");
    }

    async fn ready(&self) {
        let start = Instant::now();
        loop {
            let error = match self.connect().await {
                Ok(mut connection) => match redis::cmd("PING").exec_async(&mut connection).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "redis-server does not become ready: {error}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited_for = self.process.wait();
    }
}

fn launch(folder: &TempDir) -> Child {
    let args = "--port 0 --unixsocket socket --appendonly yes --appendfsync always --save '' \
                --logfile log";
    let started = Command::new("redis-server")
        .args(args.split(' ').map(|arg| arg.trim_matches('\'')))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "redis-server is not installed; these tests need the package of that name: \
                 apt-get install redis-server"
            )
        }
        Err(error) => panic!("cannot start redis-server: {error}"),
    }
}
