//! For tests: an HTTP/1.1 client that sends exactly the given bytes, an issuer of tokens, paths
//! with many spellings, what a program prints, an authority of certificates, and hostile clients with
//! recording instances.

mod authority;
pub mod hostile;
pub mod issuer;
pub mod paths;
pub mod program;
pub mod random;
pub mod wire;

pub use authority::{Authority, Issued, VALID};

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// By lower-case name; the last of repeated headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When the body is not a `T` in JSON.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

/// Sends a request without a body, on a new connection.
///
/// # Errors
/// When the connection closes before the response is complete.
pub async fn send(addr: SocketAddr, method: &str, target: &str) -> io::Result<Response> {
    raw(
        addr,
        format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .await
}

/// Sends a request with a JSON body.
///
/// # Errors
/// When the connection closes before the response is complete.
pub async fn send_json(
    addr: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
) -> io::Result<Response> {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    raw(addr, [head.as_bytes(), body.as_bytes()].concat().as_slice()).await
}

/// Sends these bytes and reads one response.
///
/// # Errors
/// When the connection closes before the response is complete, or after 20 s.
pub async fn raw(addr: SocketAddr, request: &[u8]) -> io::Result<Response> {
    tokio::time::timeout(TIMEOUT, async {
        let mut connection = TcpStream::connect(addr).await?;
        connection.write_all(request).await?;
        read_response(&mut connection, request).await
    })
    .await?
}

async fn read_response(connection: &mut TcpStream, request: &[u8]) -> io::Result<Response> {
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
    let status = lines
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
        // Lines of one name are one list (RFC 9110, section 5.2).
        let list = headers.entry(name.to_ascii_lowercase()).or_default();
        let comma = if list.is_empty() { "" } else { ", " };
        *list += comma;
        *list += value.trim();
    }
    let length =
        headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    // These have a length and no body.
    let bodiless = request.starts_with(b"HEAD ") || status == 304;
    while !bodiless && body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Response { status, headers, body })
}
