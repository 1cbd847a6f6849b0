//! Talking to a Redis while it is set up.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::error::StackError;
use crate::ports::loopback;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long servers may take to become one Redis. Replicas and Sentinels find each other within seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Sends commands, one a line, and returns all that is answered.
pub(super) async fn ask(port: u16, commands: &str) -> io::Result<String> {
    let answer = async {
        let mut stream = TcpStream::connect(loopback(port)).await?;
        stream.write_all(format!("{commands}\r\n").as_bytes()).await?;
        // A Sentinel knows no QUIT.
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(ANSWER, answer).await?
}

/// Sends commands that must not be refused.
pub(super) async fn tell(port: u16, commands: &str) -> Result<(), StackError> {
    match ask(port, commands).await {
        Ok(answer) if !answer.starts_with('-') && !answer.contains("\n-") => Ok(()),
        Ok(answer) => Err(failed(answer.trim().to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Waits until a server's answer holds all of these.
pub(super) async fn until(port: u16, command: &str, awaited: &[&str]) -> Result<(), StackError> {
    let begin = Instant::now();
    loop {
        let seen = match ask(port, command).await {
            Ok(answer) if awaited.iter().all(|awaited| answer.contains(awaited)) => return Ok(()),
            Ok(answer) => answer,
            Err(error) => error.to_string(),
        };
        if begin.elapsed() > PATIENCE {
            return Err(failed(format!("port {port} does not say {} to {command}, but {seen}", awaited.join(" and "))));
        }
        sleep(LOOK).await;
    }
}

fn failed(detail: String) -> StackError {
    StackError::Tool { what: "joining the Redis servers", detail }
}
