//! A reader of server-sent events.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proto_contracts::control::Event;

use crate::client::{Connection, Request, read_head, read_line};
use crate::testbed::{TOKEN, TestGateway};

/// An event that does not come within this time will not come.
const LONGEST: Duration = Duration::from_secs(60);

/// A stream of the gateway's events.
pub(crate) struct EventStream {
    stream: BufReader<TcpStream>,
    /// Received text that was not parsed yet, without its framing.
    text: String,
}

impl TestGateway {
    /// Subscribes to the events that match this query.
    #[track_caller]
    pub(crate) fn listen(&self, query: &str) -> EventStream {
        self.listen_by(Request::get(&format!("/control/v1/events{query}")))
    }

    /// The same with the control token.
    #[track_caller]
    pub(crate) fn listen_with_token(&self, query: &str) -> EventStream {
        let request = Request::get(&format!("/control/v1/events{query}"));
        self.listen_by(request.header("authorization", &format!("Bearer {TOKEN}")))
    }

    #[track_caller]
    fn listen_by(&self, request: Request) -> EventStream {
        EventStream::open(
            self.connect_control(),
            &request.header("host", &self.control_addr.to_string()),
        )
    }
}

impl EventStream {
    #[track_caller]
    fn open(mut connection: Connection, request: &Request) -> Self {
        connection.start(request);
        let mut stream = connection.into_stream();
        let (status, headers) = read_head(&mut stream).expect("a head");
        assert_eq!(status, 200, "{headers:?}");
        let is = |name: &str, value: &str| {
            headers.iter().any(|(known, reported)| known == name && reported == value)
        };
        assert!(
            is("content-type", "text/event-stream") && is("cache-control", "no-store"),
            "{headers:?}"
        );
        Self { stream, text: String::new() }
    }

    /// The next event; `None` when the stream ends. Its name must be its type.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let Some(data) = field("data") else { continue };
            let event: Event =
                serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"));
            assert_eq!(field("event"), Some(event.name()), "{block}");
            return Some(event);
        }
    }

    /// The next event for which `look` returns a value.
    #[track_caller]
    pub(crate) fn find<T>(&mut self, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < LONGEST, "no such event: {what}");
            let event = self.next().unwrap_or_else(|| panic!("the stream ends before: {what}"));
            if let Some(found) = look(&event) {
                return found;
            }
        }
    }

    /// The text before the next empty line.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = self.chunk()?;
            self.text += &chunk;
        }
    }

    fn chunk(&mut self) -> Option<String> {
        // A process that exits closes its streams without a last chunk.
        if self.stream.fill_buf().is_ok_and(<[u8]>::is_empty) {
            return None;
        }
        let length = usize::from_str_radix(&read_line(&mut self.stream).expect("a length"), 16)
            .expect("in hex");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("a chunk");
        read_line(&mut self.stream).expect("its end");
        (length > 0).then(|| String::from_utf8(bytes).expect("text"))
    }
}
