//! An HTTP/1.1 client that sends exact bytes, including invalid ones.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::{AffinityKey, ErrorCode, Problem, RoutingStamp, Verdict, headers};
use serde::de::DeserializeOwned;

use crate::TIMEOUT;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// A `GET`.
    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` of an empty JSON object.
    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target).json("{}")
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The affinity key as a header.
    pub(crate) fn key(self, key: AffinityKey) -> Self {
        self.header(headers::AFFINITY_KEY, &key.to_string())
    }

    /// A JSON body.
    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body.as_bytes())
    }

    /// A body whose length is declared.
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self.header("content-length", &body.len().to_string())
    }

    /// The bytes of the header.
    pub(crate) fn head(&self) -> Vec<u8> {
        let named =
            |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let host = if named("host") { "" } else { "host: tandem.test\r\n" };
        let lines: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {} HTTP/1.1\r\n{host}{lines}\r\n", self.method, self.target).into_bytes()
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status of the final response.
    pub(crate) status: u16,
    /// The statuses that came before it.
    pub(crate) interim: Vec<u16>,
    /// In order, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a header that may appear once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} appears more than once: {all:?}");
        all.first().copied()
    }

    /// The name of the instance that served it.
    #[track_caller]
    pub(crate) fn served_by(&self) -> &str {
        self.header(headers::SERVED_BY).unwrap_or_else(|| panic!("no x-served-by on {self:?}"))
    }

    /// The routing stamp: `X-Affinity`.
    #[track_caller]
    pub(crate) fn stamp(&self) -> RoutingStamp {
        let text = self.header(headers::AFFINITY).unwrap_or_else(|| panic!("no stamp on {self:?}"));
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The verdict of the stamp.
    #[track_caller]
    pub(crate) fn verdict(&self) -> Verdict {
        self.stamp().verdict
    }

    /// The key of the stamp.
    #[track_caller]
    pub(crate) fn key(&self) -> AffinityKey {
        self.stamp().key.expect("the pool tracks keys")
    }

    /// The key in the affinity cookie that the response sets.
    #[track_caller]
    pub(crate) fn cookie_key(&self) -> Option<AffinityKey> {
        let cookie = self.header("set-cookie")?.strip_prefix(COOKIE_NAME)?.strip_prefix('=')?;
        Some(cookie.split(';').next()?.parse().expect("a well-formed key"))
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The problem document, which must match the response and must not be cached.
    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some(headers::PROBLEM_JSON), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        let problem: Problem = self.json();
        assert_eq!((problem.status, problem.code.status()), (self.status, self.status), "{self:?}");
        assert_eq!(problem.kind, problem.code.page_path());
        let id = problem.request_id.expect("a request id").to_string();
        assert_eq!(
            self.header(headers::REQUEST_ID),
            Some(id.as_str()),
            "the header and the document agree"
        );
        problem
    }

    /// The code of the problem document.
    #[track_caller]
    pub(crate) fn code(&self) -> ErrorCode {
        self.problem().code
    }
}

/// A connection that is kept from one request to the next.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the peer reads");
    }

    /// Sends these bytes, until the peer closes the connection.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) {
        let _rejected_early = self.0.get_mut().write_all(bytes);
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) -> Reply {
        self.start(request);
        self.reply_to(&request.method)
    }

    /// Sends a request.
    #[track_caller]
    pub(crate) fn start(&mut self, request: &Request) {
        let body = request.body.as_deref().unwrap_or_default();
        self.write(&[&request.head(), body].concat());
    }

    /// Reads the response to a request with this method.
    #[track_caller]
    pub(crate) fn reply_to(&mut self, method: &str) -> Reply {
        read_reply(&mut self.0, method).expect("a response")
    }

    /// Reads the response, if any.
    pub(crate) fn try_reply(&mut self) -> Option<Reply> {
        self.try_reply_to("GET")
    }

    /// Reads the response to a request with this method, if any.
    pub(crate) fn try_reply_to(&mut self, method: &str) -> Option<Reply> {
        read_reply(&mut self.0, method).ok()
    }

    /// Sends a request that may be rejected, and reads the response, if any.
    pub(crate) fn try_send(&mut self, request: &Request) -> Option<Reply> {
        self.write_all(&request.head());
        self.try_reply()
    }

    /// Reads exactly this many bytes from an upgraded connection.
    #[track_caller]
    pub(crate) fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("the peer writes");
        bytes
    }

    /// A second handle to write from another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().expect("a handle")
    }

    /// The stream itself, for an endless response.
    pub(crate) fn into_stream(self) -> BufReader<TcpStream> {
        self.0
    }

    /// Shuts down the sending side.
    pub(crate) fn finish(&self) {
        let _closed_already = self.0.get_ref().shutdown(Shutdown::Write);
    }

    /// Whether the peer closes or resets the connection without another byte.
    pub(crate) fn is_closed_by_peer(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A client with a cookie jar, like a browser.
#[derive(Debug)]
pub(crate) struct Browser {
    connection: Connection,
    cookie: Option<String>,
}

impl Browser {
    /// A client without cookies.
    pub(crate) fn open(addr: SocketAddr) -> Self {
        Self { connection: Connection::open(addr).expect("connects"), cookie: None }
    }

    /// Sends a request with the cookies so far, and keeps those of the response.
    #[track_caller]
    pub(crate) fn send(&mut self, request: Request) -> Reply {
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let reply = self.connection.send(&request);
        if let Some(set) = reply.header("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        reply
    }
}

fn read_reply(stream: &mut impl BufRead, method: &str) -> io::Result<Reply> {
    let mut interim = Vec::new();
    loop {
        let (status, headers) = read_head(stream)?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(status);
            continue;
        }
        let mut reply = Reply { status, interim, headers, body: Vec::new() };
        let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
        if !bodiless {
            reply.body = read_body(stream, &reply)?;
        }
        return Ok(reply);
    }
}

pub(crate) fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let first = read_line(stream)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((status, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(stream: &mut impl BufRead, reply: &Reply) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = reply.header("content-length") {
        read_length(stream, length.parse().map_err(|_| io::ErrorKind::InvalidData)?, &mut body)?;
    } else if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let length = u64::from_str_radix(&read_line(stream)?, 16)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            read_length(stream, length, &mut body)?;
            read_line(stream)?;
            if length == 0 {
                break;
            }
        }
    } else {
        stream.read_to_end(&mut body)?;
    }
    Ok(body)
}

/// Reads exactly so many bytes, which a hostile instance may only claim to send.
fn read_length(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A line without its terminator; an error at the end of the stream.
pub(crate) fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
