//! Clients of live connections.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use proto_contracts::live::{ClientFrame, EventName, ServerFrame};
use proto_contracts::{Endpoint, SessionId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::app::path;

/// Longer than any step takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An event of either protocol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LiveEvent {
    pub(crate) id: Option<u64>,
    pub(crate) event: EventName,
    pub(crate) data: Value,
    /// Whether a WebSocket's frame repeats an earlier result.
    pub(crate) replayed: bool,
}

impl LiveEvent {
    pub(crate) fn data<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.data.clone())
            .unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A stream of server-sent events.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// Opens a stream; panics on any other response.
    pub(crate) async fn open(
        addr: SocketAddr,
        id: &SessionId,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut stream = TcpStream::connect(addr).await.expect("a connection");
        let mut request = format!(
            "GET {}?{query} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n",
            path(Endpoint::Events, id)
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).await.expect("sent");
        let mut events = Self(BufReader::new(stream));
        let head = events.until_blank_line().await.expect("a response");
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        assert!(head.iter().any(|line| line == "cache-control: no-store"), "{head:?}");
        events
    }

    /// Disconnects without reading on.
    pub(crate) fn leave(self, reset: bool) {
        leave(self.0.into_inner(), reset);
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<LiveEvent> {
        loop {
            // The chunk headers between the lines are skipped like comments.
            let lines = self.until_blank_line().await?;
            let field = |name: &str| {
                lines.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
            };
            if let (Some(event), Some(data)) = (field("event: "), field("data: ")) {
                let event = serde_json::from_value(Value::String(event)).expect("a known event");
                let id = field("id: ").map(|id| id.parse().expect("a number"));
                return Some(LiveEvent {
                    id,
                    event,
                    data: serde_json::from_str(&data).expect("JSON"),
                    replayed: false,
                });
            }
        }
    }

    async fn until_blank_line(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = timeout(TIMEOUT, self.0.read_line(&mut line))
                .await
                .expect("a line in time")
                .expect("readable");
            match line.trim_end() {
                "" if read == 0 => return None,
                "" if !lines.is_empty() => return Some(lines),
                "" => {}
                text => lines.push(text.to_owned()),
            }
        }
    }
}

/// A WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(addr: SocketAddr, id: &SessionId, query: &str) -> Self {
        let url = format!("ws://{addr}{}?{query}", path(Endpoint::Live, id));
        Self(connect_async(url).await.expect("a WebSocket").0)
    }

    /// Opens one with these headers.
    pub(crate) async fn open_with(
        addr: SocketAddr,
        id: &SessionId,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut request = format!("ws://{addr}{}?{query}", path(Endpoint::Live, id))
            .into_client_request()
            .expect("a URL");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        Self(connect_async(request).await.expect("a WebSocket").0)
    }

    /// Disconnects without a Close frame.
    pub(crate) fn leave(self, reset: bool) {
        let MaybeTlsStream::Plain(stream) = self.0.into_inner() else { panic!("not over TLS") };
        leave(stream, reset);
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.send_raw(Message::text(serde_json::to_string(frame).expect("JSON"))).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.0.send(message).await.expect("sent");
    }

    /// The next event with the `ref` of the frame that caused it; `Err` with the Close frame, if
    /// any, after the end.
    pub(crate) async fn next(&mut self) -> Result<(LiveEvent, Option<String>), Option<CloseFrame>> {
        loop {
            match timeout(TIMEOUT, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    let frame: ServerFrame<Value> = serde_json::from_str(&text).expect("a frame");
                    let ServerFrame { event, id, reference, data, replayed, .. } = frame;
                    return Ok((LiveEvent { id, event, data, replayed }, reference));
                }
                Some(Ok(Message::Close(reason))) => return Err(reason),
                Some(Ok(_)) => {}
                Some(Err(Error::Protocol(_) | Error::Io(_))) | None => return Err(None),
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// The next event of this name; others are skipped.
    pub(crate) async fn next_of(&mut self, event: EventName) -> LiveEvent {
        self.next_with_reference(event).await.0
    }

    /// The same with its `ref`.
    pub(crate) async fn next_with_reference(
        &mut self,
        event: EventName,
    ) -> (LiveEvent, Option<String>) {
        loop {
            let next = self.next().await.expect("an open connection");
            if next.0.event == event {
                return next;
            }
        }
    }

    /// Closes with this code, and reads until the server has closed too: the code of its Close
    /// frame, and how long it took. `None` when the connection ended without one, which browsers
    /// call unclean.
    pub(crate) async fn close(&mut self, code: Option<u16>) -> (Option<Option<u16>>, Duration) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        let started = std::time::Instant::now();
        self.0.send(Message::Close(frame)).await.expect("sent");
        let mut echoed = None;
        loop {
            match timeout(TIMEOUT, self.0.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(reason))) => {
                    echoed = Some(reason.map(|reason| reason.code.into()))
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (echoed, started.elapsed()),
            }
        }
    }

    /// The code that the connection is closed with.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(reason) = self.next().await {
                return reason.map(|reason| reason.code.into());
            }
        }
    }
}

/// Closes a connection by a FIN, or by a reset.
fn leave(stream: TcpStream, reset: bool) {
    if reset {
        stream.set_zero_linger().expect("a socket");
    }
    drop(stream);
}

/// A message to post.
pub(crate) fn message_frame(message: &str) -> ClientFrame {
    ClientFrame { message: message.to_owned(), ..ClientFrame::default() }
}
