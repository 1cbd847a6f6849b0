//! An instance that records what it is sent, by client, and checks each byte of it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::testing::wire::message::{self, Body};

/// A whole request, as an instance received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// As it came, without the line's end.
    pub line: String,
    /// Sorted, with names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// What the instances of one gateway received.
#[derive(Debug, Default)]
pub struct Recorder {
    by_client: Mutex<HashMap<IpAddr, Vec<Seen>>>,
    faults: Mutex<Vec<String>>,
}

impl Recorder {
    /// Starts an instance with this name, on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn instance(self: &Arc<Self>, name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let recorder = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = Arc::clone(&recorder);
                tokio::spawn(async move {
                    // The gateway may close a connection at any time.
                    let _closed = recorder.serve(stream, name).await;
                });
            }
        });
        addr
    }

    /// The requests of a client, which are forgotten.
    pub fn take(&self, client: IpAddr) -> Vec<Seen> {
        self.lock().remove(&client).unwrap_or_default()
    }

    /// What was no request in canonical form.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no panic").clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Seen>>> {
        self.by_client.lock().expect("no panic")
    }

    async fn serve(&self, mut stream: TcpStream, name: &str) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut bytes = Vec::new();
        loop {
            let seen = loop {
                match read(&bytes) {
                    Ok(Some((seen, len))) => {
                        bytes.drain(..len);
                        break seen;
                    }
                    Ok(None) if stream.read_buf(&mut bytes).await? > 0 => {}
                    Ok(None) => return Ok(()),
                    Err(fault) => {
                        let fault = format!("{fault} in \"{}\"", bytes.escape_ascii());
                        self.faults.lock().expect("no panic").push(fault);
                        return Ok(());
                    }
                }
            };
            let hops = seen.fields.iter().find(|(name, _)| name == "x-forwarded-for");
            let peer = hops.and_then(|(_, hops)| client(hops));
            let reply = Reply::to(&seen.line, name, peer);
            if !is_check(&seen.line) {
                match peer {
                    Some(peer) => self.lock().entry(peer).or_default().push(seen),
                    None => {
                        let fault = format!("a request without a client: {seen:?}");
                        self.faults.lock().expect("no panic").push(fault);
                    }
                }
            }
            for piece in &reply.pieces {
                stream.write_all(piece.as_bytes()).await?;
            }
            if reply.closes {
                return stream.shutdown().await;
            }
        }
    }
}

/// The request at the front and its length; `None` while incomplete.
fn read(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let Some((head, len)) = message::head(bytes)? else { return Ok(None) };
    let mut words = head.line.split(' ');
    let version = words.by_ref().nth(2);
    if version != Some("HTTP/1.1") || words.next().is_some() {
        return Err(format!("the request line {:?}", head.line));
    }
    if head.all("host").len() != 1 {
        return Err("not one host".to_owned());
    }
    let framing = match head.body()? {
        Body::UntilClose => Body::Length(0),
        framing => framing,
    };
    let Some((body, rest)) = message::body(framing, &bytes[len..])? else { return Ok(None) };
    let mut fields = head.fields;
    fields.sort();
    Ok(Some((Seen { line: head.line, fields, body }, len + rest)))
}

/// The client: the last hop that is no proxy, which have the usual address.
fn client(hops: &str) -> Option<IpAddr> {
    let mut hops = hops.rsplit(", ").map_while(|hop| hop.parse::<IpAddr>().ok());
    hops.find(|hop| *hop != Ipv4Addr::LOCALHOST)
}

/// Whether it is a health check, whose client spells names as it likes.
fn is_check(line: &str) -> bool {
    line.starts_with("GET /health ")
}

/// The kind of response that a target names by `r=`.
fn kind(line: &str) -> usize {
    let digits = line.split_once("r=").map_or("", |(_, rest)| rest);
    digits.chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or(0) as usize
}

/// A valid response.
struct Reply {
    pieces: Vec<String>,
    closes: bool,
}

impl Reply {
    fn to(line: &str, name: &str, peer: Option<IpAddr>) -> Self {
        let kind = kind(line);
        let is_head = line.starts_with("HEAD ");
        // The end of the connection ends the body, or it is announced.
        let closes = matches!(kind, 7 | 8) || kind == 2 && !is_head;
        let long = "x".repeat(20_000);
        let (status, fields, body) = match kind {
            1 => ("200 OK", "transfer-encoding: chunked\r\n", "2\r\nok\r\n3;a\r\nyes\r\n0\r\n\r\n"),
            2 => ("200 OK", "", "until the end"),
            3 => ("204 No Content", "", ""),
            4 => ("304 Not Modified", "etag: \"a\"\r\n", ""),
            6 => ("404 Not Found", "content-length: 2\r\nx-a: b\r\nConnection: x-a\r\n", "no"),
            7 => ("200 OK", "content-length: 2\r\nconnection: close\r\n", "ok"),
            9 => ("200 OK", "content-length: 20000\r\ncache-control: private\r\n", &*long),
            _ => ("200 OK", "content-length: 2\r\n", "ok"),
        };
        let body = if is_head { "" } else { body };
        let version = if kind == 8 { "HTTP/1.0" } else { "HTTP/1.1" };
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
        // Tells the client of this test that no body follows.
        let marked = if is_head { "x-head: yes\r\n" } else { "" };
        // Whose response it is.
        let client = peer.map(|peer| format!("x-client: {peer}\r\n")).unwrap_or_default();
        let head =
            format!("{version} {status}\r\nx-instance-id: {name}\r\n{client}{marked}{fields}\r\n");
        let mut pieces = vec![head + body];
        if kind == 5 {
            pieces.insert(0, interim.to_owned());
        }
        Self { pieces, closes }
    }
}
