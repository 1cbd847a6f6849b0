//! The one thread that starts all children.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A child's death signal is tied to the *thread* that started it, and the threads of a runtime come and go (those of
/// a test end with the test). This one ends with the process: its sender is never dropped.
static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::spawn(move || {
        for Job { mut command, reply } in queue {
            // When nobody waits for the child any more, nobody would ever end it.
            if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                let _ = orphan.kill();
                let _ = orphan.wait();
            }
        }
    });
    jobs
});

/// Starts a child from the thread that lives as long as this process.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts children has ended");
    SPAWNER.send(Job { command, reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
