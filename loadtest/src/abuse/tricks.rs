//! The hostile client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto_contracts::Endpoint;
use proto_contracts::stateful::{CreateSession, PostMessage, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::request;
use crate::target::Target;

/// The abuser's client address, by X-Forwarded-For: a single client that is not exempt from limits.
const ADDRESS: &str = "203.0.113.9";
/// Timeout of a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Duration of slow bodies and reads.
const SLOW: Duration = Duration::from_secs(4);
/// Number and length of the messages in the slowly read history.
const HISTORY: (usize, usize) = (40, 15_000);
/// Pause between two tricks on a connection: the test is about damage, not about the CPU cost of
/// rejections.
const PAUSE: Duration = Duration::from_millis(50);

/// A way to harm other clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// A stream by an escaped form of its path.
    EscapedPath,
    /// A body sent byte by byte.
    SlowBody,
    /// A request whose client disconnects before the response.
    Aborted,
    /// A stream that is opened and closed at once.
    Stream,
    /// A long response that is not read.
    SlowReader,
    /// A rejected upgrade.
    RefusedUpgrade,
}

impl Trick {
    pub(super) const ALL: [Self; 6] = [
        Self::EscapedPath,
        Self::SlowBody,
        Self::Aborted,
        Self::Stream,
        Self::SlowReader,
        Self::RefusedUpgrade,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EscapedPath => "escaped paths",
            Self::SlowBody => "slow bodies",
            Self::Aborted => "aborted requests",
            Self::Stream => "streams opened, closed",
            Self::SlowReader => "slow readers",
            Self::RefusedUpgrade => "rejected upgrades",
        }
    }
}

/// One hostile client.
pub(super) struct Abuser {
    target: Arc<Target>,
    session: String,
}

impl Abuser {
    /// Creates the session that the tricks use.
    pub(super) async fn prepare(target: Arc<Target>) -> Result<Self> {
        let mut client = Client::new(Arc::clone(&target));
        let create =
            request::post(Endpoint::Sessions.templates().canonical, &<CreateSession>::default());
        let created = client.send(create).await.context("cannot create the abuser's session")?;
        let session: Session =
            serde_json::from_slice(&created.body).context("cannot create the abuser's session")?;
        let session = session.session_id.expose();
        let path = Endpoint::Messages.templates().canonical.replace("{session_id}", &session);
        let (count, length) = HISTORY;
        for _ in 0..count {
            let message = PostMessage { message: "x".repeat(length) };
            let posted = client.send(request::post(&path, &message)).await?;
            ensure!(
                posted.status.is_success(),
                "a message of the abuser was rejected: {}",
                posted.status
            );
        }
        Ok(Self { target, session })
    }

    /// Runs one trick after the other until it is stopped; returns them with the response statuses.
    pub(super) async fn work(
        self: Arc<Self>,
        number: u32,
        stopped: watch::Receiver<bool>,
    ) -> Vec<(Trick, Option<u16>)> {
        let mut tried = Vec::new();
        let mut turn = number as usize;
        while !*stopped.borrow() {
            let trick = Trick::ALL[turn % Trick::ALL.len()];
            turn += 1;
            // Errors are expected: the gateway may reject this client.
            let status = timeout(RESPONSE_TIMEOUT + SLOW, self.play(trick, turn))
                .await
                .ok()
                .and_then(Result::ok)
                .flatten();
            tried.push((trick, status));
            sleep(PAUSE).await;
        }
        tried
    }

    async fn play(&self, trick: Trick, turn: usize) -> io::Result<Option<u16>> {
        let session = format!("/api/v1/stateful/sessions/{}", self.session);
        match trick {
            Trick::EscapedPath => {
                let paths = ["%65vents", "%6cive", "ev%65nts", "%2e/events", "history/../events"];
                let mut stream = self
                    .send("GET", &format!("{session}/{}", paths[turn % paths.len()]), "")
                    .await?;
                status(&mut stream).await
            }
            Trick::SlowBody => {
                let framing = [
                    "content-length: 900000\r\n",
                    "content-length: 100\r\n",
                    "transfer-encoding: chunked\r\n",
                ];
                let framing = framing[turn % framing.len()];
                let mut stream = self.send("POST", &format!("{session}/messages"), framing).await?;
                let begun = tokio::time::Instant::now();
                let byte: &[u8] = if framing.starts_with('t') { b"1\r\n{\r\n" } else { b"{" };
                while begun.elapsed() < SLOW && stream.write_all(byte).await.is_ok() {
                    sleep(SLOW / 8).await;
                }
                Ok(None)
            }
            Trick::Aborted => {
                let path =
                    ["/api/v1/stateless/info", "/api/v1/stateless/products", &session][turn % 3];
                let _stream = self.send("GET", path, "").await?;
                sleep(Duration::from_millis(turn as u64 % 4)).await;
                Ok(None)
            }
            Trick::Stream => {
                let mut stream = self.send("GET", &format!("{session}/events"), "").await?;
                status(&mut stream).await
            }
            Trick::SlowReader => {
                let mut stream =
                    self.send("GET", &format!("{session}/history?limit=100"), "").await?;
                let status = status(&mut stream).await?;
                sleep(SLOW).await;
                Ok(status)
            }
            Trick::RefusedUpgrade => {
                let fields =
                    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 7\r\n";
                let mut stream = self.send("GET", &format!("{session}/live"), fields).await?;
                status(&mut stream).await
            }
        }
    }

    /// Sends a request's header on a new connection with the smallest receive window.
    async fn send(&self, method: &str, path: &str, fields: &str) -> io::Result<TcpStream> {
        let socket =
            if self.target.addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_recv_buffer_size(1)?;
        let mut stream = socket.connect(self.target.addr).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: tandem.test\r\nx-forwarded-for: {ADDRESS}\r\n\
             content-type: application/json\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }
}

/// The status of the response; `None` on timeout.
async fn status(stream: &mut TcpStream) -> io::Result<Option<u16>> {
    let mut line = [0; 12];
    match timeout(RESPONSE_TIMEOUT, stream.read_exact(&mut line)).await {
        Ok(read) => read?,
        Err(_) => return Ok(None),
    };
    Ok(std::str::from_utf8(&line[9..]).ok().and_then(|status| status.parse().ok()))
}
