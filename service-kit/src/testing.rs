//! For tests: a small HTTP/1.1 client that sends exactly the bytes it is given, hostile ones too, an issuer of tokens, and
//! paths with many spellings.

pub mod issuer;
pub mod paths;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// By lower-case name; of a repeated header, the last.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

/// Sends a request without a body on a connection of its own.
///
/// # Errors
/// When the connection breaks before the answer is complete.
pub async fn send(addr: SocketAddr, method: &str, target: &str) -> io::Result<Answer> {
    raw(addr, format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Sends a JSON body.
///
/// # Errors
/// When the connection breaks before the answer is complete.
pub async fn send_json(addr: SocketAddr, method: &str, target: &str, body: &str) -> io::Result<Answer> {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    raw(addr, [head.as_bytes(), body.as_bytes()].concat().as_slice()).await
}

/// Sends these bytes and reads until the server closes or the answer is complete.
///
/// # Errors
/// When the connection breaks before the answer is complete, or it takes longer than 20 s.
pub async fn raw(addr: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    tokio::time::timeout(PATIENCE, async {
        let mut connection = TcpStream::connect(addr).await?;
        connection.write_all(request).await?;
        read_answer(&mut connection, request).await
    })
    .await?
}

async fn read_answer(connection: &mut TcpStream, request: &[u8]) -> io::Result<Answer> {
    let mut text = Vec::new();
    let head = loop {
        if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = text.split_off(head);
    let lines = String::from_utf8_lossy(&text).into_owned();
    let status = lines.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let headers: BTreeMap<_, _> = lines
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    // These state the length of a body that they do not have.
    let bodiless = request.starts_with(b"HEAD ") || status == 304;
    while !bodiless && body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answer { status, headers, body })
}
