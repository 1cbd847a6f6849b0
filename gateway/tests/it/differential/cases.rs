//! Requests and the packets that they come in, from a grammar and the corpus of the walkers.

use std::path::Path;

use service_kit::testing::random::{Random, files_of};
use service_kit::testing::wire::Step;

/// What a client does on one connection.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) steps: Vec<Step>,
}

/// The last request of each case. A connection that serves it was kept until then.
const LAST: &str =
    "GET /api/v1/stateless/info?last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

const ENDPOINTS: [(&str, &str); 16] = [
    ("GET", "/api/v1/stateless/info"),
    ("GET", "/api/v1/stateless/products"),
    ("GET", "/api/v1/stateless/random"),
    ("GET", "/api/stateless/info"),
    ("GET", "http://a/api/v1/stateless/info"),
    ("GET", "/api/v1/state%6Cess/%69nfo"),
    ("GET", "/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff/history"),
    ("GET", "/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff/events"),
    ("DELETE", "/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff"),
    ("PATCH", "/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff"),
    ("POST", "/api/v1/stateless/calculate"),
    ("POST", "/api/v1/stateless/calculate"),
    ("POST", "/api/v1/stateful/sessions"),
    ("POST", "/api/v1/stateful/conversations"),
    ("GET", "/"),
    ("GET", "/nothing/here"),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Fields that both engines may see.
const FIELDS: [&str; 62] = [
    "accept: */*",
    "Accept-Encoding: gzip, br",
    "user-agent: x/1 (y; z)",
    "X-Empty:",
    "x-tabs:\t a\tb \t",
    "x-many: 1\r\nx-many: 2\r\nX-MANY: 3",
    "x-latin: \u{e9}",
    "!#$%&'*+-.^_`|~: y",
    "cookie: a=b; affinity=0badcafe; c=d",
    "Cookie: affinity=nonsense",
    "cookie: affinity=0badcafe",
    "cookie: a=b\r\ncookie: c=d",
    "cookie:",
    "x-affinity-key: 0badcafe",
    "x-affinity-key: nonsense",
    "x-session-affinity: none",
    "x-affinity: off; epoch=00000000",
    "x-routing-strategy: round_robin",
    "x-request-id: 0190b0e4-7d1c-7a52-9c41-0123456789ab",
    "x-request-id: nonsense",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "traceparent: nonsense\r\ntracestate: a=b",
    "tracestate: a=b",
    "tracestate: a=b\r\ntracestate: c=d\r\n\
     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    "x-forwarded-for: 203.0.113.7",
    "x-forwarded-for: 203.0.113.7, 198.51.100.1\r\nx-forwarded-for: 192.0.2.1",
    "X-Forwarded-For: nonsense",
    "x-forwarded-proto: https",
    "x-forwarded-host: b\r\nx-forwarded-port: 81",
    "forwarded: for=203.0.113.7",
    "x-real-ip: 203.0.113.7",
    "x-instance-id: x\r\nx-served-by: y",
    "x-draining: 1\r\nx-weight: 2",
    "idempotency-key: a",
    "via: 1.0 x",
    "authorization: Bearer x",
    "te: trailers",
    "TE: gzip;q=0",
    "trailer: x-a",
    "keep-alive: timeout=5",
    "proxy-connection: keep-alive",
    "connection: close",
    "Connection: Keep-Alive",
    "connection: x-a\r\nx-a: b",
    "connection: keep-alive, cookie\r\ncookie: a=b",
    "connection: te, close",
    "connection: host, content-length, x-request-id",
    "connection: x-forwarded-for, authorization\r\nauthorization: Basic eA==",
    "connection: traceparent\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "connection:",
    "connection: ,, close ,",
    "expect: 100-continue",
    "Expect: 100-Continue",
    "expect: nonsense",
    "upgrade: websocket",
    "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: x",
    "connection: upgrade\r\nupgrade: websocket",
    "content-type: application/json",
    "content-encoding: gzip",
    "if-none-match: \"a\"",
    "range: bytes=0-1",
    "max-forwards: 0",
];

/// What breaks a message.
pub(super) const WORDS: [&str; 40] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\0",
    "\x0b",
    "\x7f",
    "\u{e9}",
    "%",
    "%41",
    "%2f",
    "/..",
    "0",
    "1",
    "a",
    "5\r\n",
    "0\r\n\r\n",
    ";a=b",
    "\r\n\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "host: b\r\n",
    "content-length: 3\r\n",
    "content-length: 0\r\n",
    "Content-Length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "transfer-encoding: identity\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    " x: y\r\n",
    "x\r\n",
    "upgrade: websocket\r\n",
    "GET ",
    "HEAD ",
];

/// The corpus of the walkers.
pub(super) struct Corpus {
    requests: Vec<Vec<u8>>,
    chunked: Vec<Vec<u8>>,
}

impl Corpus {
    pub(super) fn read() -> Self {
        Self { requests: entries("request"), chunked: entries("chunked") }
    }
}

fn entries(folder: &str) -> Vec<Vec<u8>> {
    files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder))
}

impl Case {
    /// The case of this number.
    pub(super) fn new(number: u64, corpus: &Corpus) -> Self {
        let mut random = Random(number);
        let count = [1, 1, 2, 2, 3][random.below(5)];
        let mut requests: Vec<_> = (0..count).map(|_| request(&mut random, corpus)).collect();
        if random.percent(35) {
            let index = random.below(count);
            for _ in 0..=random.below(3) {
                random.change(&mut requests[index], 0, &WORDS);
            }
        }
        let mut steps = Vec::new();
        match random.below(3) {
            // In order, each after the response before.
            0 => {
                for request in requests {
                    packets(&mut random, &request, 10, &mut steps);
                    steps.push(Step::Await);
                }
                steps.push(Step::Send(LAST.into()));
            }
            // At once.
            1 => {
                let all = [requests.concat(), LAST.into()].concat();
                packets(&mut random, &all, 0, &mut steps);
            }
            // In packets.
            _ => {
                let all = [requests.concat(), LAST.into()].concat();
                packets(&mut random, &all, 100, &mut steps);
            }
        }
        Self { steps }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let sent = |step: &Step| match step {
            Step::Send(bytes) => bytes.clone(),
            Step::Gap | Step::Await => Vec::new(),
        };
        self.steps.iter().flat_map(sent).collect()
    }
}

/// Cuts bytes into up to five packets in so many of 100 cases.
fn packets(random: &mut Random, bytes: &[u8], share: usize, steps: &mut Vec<Step>) {
    let mut cuts = Vec::new();
    if random.percent(share) {
        cuts = (0..=random.below(4)).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
    }
    let mut start = 0;
    for end in cuts {
        steps.extend([Step::Send(bytes[start..end].to_vec()), Step::Gap]);
        start = end;
    }
    steps.push(Step::Send(bytes[start..].to_vec()));
}

fn request(random: &mut Random, corpus: &Corpus) -> Vec<u8> {
    if random.percent(12) {
        return corpus.requests[random.below(corpus.requests.len())].clone();
    }
    let (method, target) = ENDPOINTS[random.below(ENDPOINTS.len())];
    let method = match random.below(10) {
        0 => random.one_of(&METHODS),
        1 | 2 if method == "GET" => "HEAD",
        _ => method,
    };
    let query = match random.below(4) {
        0 => String::new(),
        1 => "?a=%41&b".to_owned(),
        _ => format!("?r={}", random.below(10)),
    };
    let version = if random.percent(12) { "1.0" } else { "1.1" };
    let mut head = format!("{method} {target}{query} HTTP/{version}\r\n");
    let host = random.below(8);
    if host == 0 {
        head += "Host: A:80 \r\n";
    } else if version == "1.1" || host > 3 {
        head += "host: a\r\n";
    }
    for _ in 0..random.below(5) {
        head += random.one_of(&FIELDS);
        head += "\r\n";
    }
    let (framing, body) = body(random, corpus, method);
    [format!("{head}{framing}\r\n").as_bytes(), &body].concat()
}

/// The framing fields and the body.
fn body(random: &mut Random, corpus: &Corpus, method: &str) -> (String, Vec<u8>) {
    let has_none = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE") && !random.percent(15);
    if has_none || random.percent(10) {
        return (String::new(), Vec::new());
    }
    let long = random.percent(2);
    let data = vec![b'x'; if long { 60_000 + random.below(20_000) } else { random.below(40) }];
    let length = |length: usize| format!("content-length: {length}\r\n");
    let chunked = |random: &mut Random| {
        let names = ["transfer-encoding", "Transfer-Encoding"];
        let codings = ["chunked", "Chunked", " chunked\t"];
        format!("{}: {}\r\n", random.one_of(&names), random.one_of(&codings))
    };
    match random.below(20) {
        0..=7 => (length(data.len()), data),
        8 => (format!("Content-Length:\t00{} \r\n", data.len()), data),
        // The next request is the rest of the body, or the rest of the body is the next request.
        9 => (length(data.len() + 1 + random.below(200)), data),
        10 => (length(data.len() / 2), data),
        11 => (length(data.len()) + &chunked(random), chunks(random, &data)),
        12 => (chunked(random), corpus.chunked[random.below(corpus.chunked.len())].clone()),
        13 => {
            let mut body = chunks(random, &data);
            random.change(&mut body, 0, &WORDS);
            (chunked(random), body)
        }
        _ => (chunked(random), chunks(random, &data)),
    }
}

/// A body in valid chunks.
fn chunks(random: &mut Random, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let most = if data.len() > 1_000 { 30_000 } else { 16 };
        let (chunk, left) = rest.split_at(1 + random.below(rest.len().min(most)));
        rest = left;
        let size = match random.below(4) {
            0 => format!("{:X}", chunk.len()),
            1 => format!("000{:x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        let extensions = ["", "", "", ";a", ";a=b", ";a=\"b;\\\"c\";d"];
        let line = format!("{size}{}\r\n", random.one_of(&extensions));
        body.extend_from_slice(&[line.as_bytes(), chunk, b"\r\n"].concat());
    }
    let ends =
        ["0\r\n\r\n", "0\r\n\r\n", "000;a=b\r\n\r\n", "0\r\nx-a: b\r\ncontent-length: 3\r\n\r\n"];
    body.extend_from_slice(random.one_of(&ends).as_bytes());
    body
}
