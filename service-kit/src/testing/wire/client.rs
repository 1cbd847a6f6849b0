//! Sends a case to a gateway, and reads what comes back.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};

use crate::testing::TIMEOUT;
use crate::testing::wire::Step;
use crate::testing::wire::message::{self, Body, Head};

/// Between two packets.
const GAP: Duration = Duration::from_millis(1);
/// After so long without a byte, another client may begin.
const IDLE: Duration = Duration::from_millis(20);

/// A response, interim ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the connection ended within it.
    pub is_cut: bool,
}

/// What a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whole responses, and one that was cut off.
    pub replies: Vec<Reply>,
    /// Whether the server kept the connection until the client closed its side.
    pub kept: bool,
    /// Whether it waited for a response in vain, and sent more.
    pub in_vain: bool,
    /// What was no response in canonical form.
    pub fault: Option<String>,
}

/// A loopback address of its own for each client, by which instances tell them apart.
pub fn address(number: u64) -> IpAddr {
    let [.., a, b, c] = (number + 0x0001_0000).to_be_bytes();
    Ipv4Addr::new(127, a, b, c).into()
}

/// A connection from this address.
///
/// # Errors
/// When it is refused.
pub async fn connect(to: SocketAddr, from: IpAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A client with one connection.
#[derive(Debug)]
pub struct Client<'a, S> {
    stream: S,
    received: Vec<u8>,
    closed: bool,
    silence: Duration,
    active: Option<SemaphorePermit<'a>>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Client<'a, S> {
    /// After `silence` without a byte, the server waits for more of the request. The permit is
    /// returned sooner, so that such clients do not hold up others.
    pub fn new(stream: S, silence: Duration, active: Option<SemaphorePermit<'a>>) -> Self {
        Self { stream, received: Vec::new(), closed: false, silence, active }
    }

    /// Takes the steps, and reads until the connection is closed.
    pub async fn run(mut self, steps: &[Step]) -> Received {
        let (mut awaited, mut in_vain) = (0, false);
        for step in steps {
            match step {
                // The server may have rejected the request already.
                Step::Send(bytes) => drop(self.stream.write_all(bytes).await),
                Step::Gap => sleep(GAP).await,
                Step::Await => {
                    awaited += 1;
                    while !self.closed && self.finals() < awaited && self.receive().await {}
                    in_vain |= self.finals() < awaited;
                }
            }
        }
        while !self.closed && self.receive().await {}
        let kept = !self.closed;
        if kept {
            // Ends a request that is not complete.
            let _closed = self.stream.shutdown().await;
            self.silence = TIMEOUT;
            while !self.closed && self.receive().await {}
        }
        let hangs = (!self.closed).then(|| "the connection stays open".to_owned());
        let (replies, fault) = replies(&self.received, true);
        Received { replies, kept, in_vain, fault: fault.or(hangs) }
    }

    fn finals(&self) -> usize {
        let (replies, _) = replies(&self.received, false);
        replies.iter().filter(|reply| reply.status >= 200).count()
    }

    /// Receives more. Returns whether anything came.
    async fn receive(&mut self) -> bool {
        if self.active.is_some() {
            if let Some(came) = within(IDLE, Self::read(&mut self.stream, &mut self.received)).await
            {
                self.closed = !came;
                return true;
            }
            self.active = None;
        }
        match within(self.silence, Self::read(&mut self.stream, &mut self.received)).await {
            Some(came) => {
                self.closed = !came;
                true
            }
            None => false,
        }
    }

    async fn read(stream: &mut S, received: &mut Vec<u8>) -> bool {
        stream.read_buf(received).await.is_ok_and(|count| count > 0)
    }
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(time, future).await.ok()
}

/// The whole responses, and what is no response.
fn replies(bytes: &[u8], closed: bool) -> (Vec<Reply>, Option<String>) {
    let (mut replies, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match reply(rest, closed) {
            Ok(Some((reply, len))) => {
                rest = &rest[len..];
                replies.push(reply);
            }
            Ok(None) if closed => return (replies, Some("half a header".to_owned())),
            Ok(None) => break,
            Err(fault) => return (replies, Some(fault)),
        }
    }
    (replies, None)
}

fn reply(bytes: &[u8], closed: bool) -> Result<Option<(Reply, usize)>, String> {
    let Some((head, len)) = message::head(bytes)? else { return Ok(None) };
    let digits = head.line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = digits.and_then(|digits| digits.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("the status line {:?}", head.line))?;
    let rest = &bytes[len..];
    let framing = match status {
        // The rest of the connection has another protocol.
        101 => Body::UntilClose,
        ..200 | 204 | 304 => Body::Length(0),
        _ => head.body()?,
    };
    // Responses to `HEAD` have none. No body of these tests begins as a response does.
    let next = b"HTTP/1.1 ";
    let is_bodiless = rest.starts_with(next) || closed && rest.is_empty() || has(&head, "x-head");
    let framing = if is_bodiless { Body::Length(0) } else { framing };
    if !closed && framing != Body::Length(0) && next.starts_with(rest) {
        return Ok(None);
    }
    let (body, body_len, is_cut) = match message::body(framing, rest)? {
        Some((body, body_len)) => (body, body_len, false),
        None if !closed => return Ok(None),
        None => (rest.to_vec(), rest.len(), framing != Body::UntilClose),
    };
    Ok(Some((Reply { status, head, body, is_cut }, len + body_len)))
}

fn has(head: &Head, name: &str) -> bool {
    !head.all(name).is_empty()
}
