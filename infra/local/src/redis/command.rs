//! Redis commands for setup.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::error::StackError;
use crate::ports::loopback;

/// Timeout of one command.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for the servers to join. Replicas and Sentinels discover each other within seconds.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Sends inline commands, one per line, and returns all replies.
pub(super) async fn send(port: u16, commands: &str) -> io::Result<String> {
    let reply = async {
        let mut stream = TcpStream::connect(loopback(port)).await?;
        stream.write_all(format!("{commands}\r\n").as_bytes()).await?;
        // Sentinel does not support QUIT.
        stream.shutdown().await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    timeout(REPLY_TIMEOUT, reply).await?
}

/// Sends commands; an error reply is an error.
pub(super) async fn execute(port: u16, commands: &str) -> Result<(), StackError> {
    match send(port, commands).await {
        Ok(reply) if !reply.starts_with('-') && !reply.contains("\n-") => Ok(()),
        Ok(reply) => Err(failed(reply.trim().to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Waits until a server's reply contains all of these.
pub(super) async fn wait_for(port: u16, command: &str, awaited: &[&str]) -> Result<(), StackError> {
    let begin = Instant::now();
    loop {
        let seen = match send(port, command).await {
            Ok(reply) if awaited.iter().all(|awaited| reply.contains(awaited)) => return Ok(()),
            Ok(reply) => reply,
            Err(error) => error.to_string(),
        };
        if begin.elapsed() > JOIN_TIMEOUT {
            return Err(failed(format!(
                "{command} on port {port} should contain {}, but returned {seen}",
                awaited.join(" and ")
            )));
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn failed(detail: String) -> StackError {
    StackError::Tool { what: "joining the Redis servers", detail }
}
