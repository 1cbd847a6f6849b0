//! A client that sends a request now and then, with little memory of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto_contracts::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::target::Target;

const TIMEOUT: Duration = Duration::from_secs(10);
/// More than a response of the origins through any proxy.
const MAX_RESPONSE: usize = 4096;

/// A kept connection.
pub(super) struct IdleClient(TcpStream);

impl IdleClient {
    /// Connects and gets a first response.
    pub(super) async fn connect(target: &Target) -> Result<Self> {
        let mut client = Self(TcpStream::connect(target.addr).await.context("cannot connect")?);
        client.request().await?;
        Ok(client)
    }

    /// Sends a request and reads the whole response.
    pub(super) async fn request(&mut self) -> Result<()> {
        timeout(TIMEOUT, self.exchange()).await.context("no response in time")?
    }

    async fn exchange(&mut self) -> Result<()> {
        let path = Endpoint::Info.templates().canonical;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.write_all(head.as_bytes()).await.context("the connection broke")?;
        let (mut response, mut length) = ([0; MAX_RESPONSE], 0);
        loop {
            let read = self.0.read(&mut response[length..]).await?;
            ensure!(read > 0, "the proxy closed the connection, or its response is too long");
            length += read;
            if is_complete(&response[..length])? {
                return Ok(());
            }
        }
    }
}

/// Whether this is a whole response with status 200 and a length.
fn is_complete(response: &[u8]) -> Result<bool> {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = response.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200 "), "an unexpected response: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("a response without length")?.trim().parse()?;
    Ok(body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_with_its_body() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\nabc";
        assert!(is_complete(response).expect("a response"));
        for length in [0, 10, 43, response.len() - 1] {
            assert!(!is_complete(&response[..length]).expect("part of one"), "{length}");
        }
        assert!(is_complete(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "without a length");
    }
}
