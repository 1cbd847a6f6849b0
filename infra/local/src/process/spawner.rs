//! The thread that starts all children.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A child's death signal is tied to the *thread* that started it, and a runtime's threads may end
/// early. This thread lives as long as the process: its sender is never dropped.
static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::spawn(move || {
        for Job { mut command, reply } in queue {
            // The receiver is gone, so nothing else would stop the child.
            if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                let _ = orphan.kill();
                let _ = orphan.wait();
            }
        }
    });
    jobs
});

/// Starts a child from that thread.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = oneshot::channel();
    let gone = || io::Error::other("the spawner thread has ended");
    SPAWNER.send(Job { command, reply }).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}
