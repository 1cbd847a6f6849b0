//! Malformed and ambiguous requests by number, and what servers may do with them.

mod run;

use std::net::IpAddr;

use crate::testing::random::Random;
use crate::testing::wire::{Received, Seen};

pub use run::{Summary, Target, numbers, run};

/// The path of requests that no server may see: they follow one that ends its connection.
pub const SMUGGLED: &str = "/api/v1/stateless/random";

const LINES: [&str; 8] = [
    "POST /api/v1/stateless/calculate HTTP/1.1",
    "POST /api/v1/stateless/calculate HTTP/1.1",
    "POST /api/v1/stateless/calculate HTTP/1.0",
    "POST http://a/api/v1/stateless/calculate HTTP/1.1",
    "GET /api/v1/stateless/info HTTP/1.1",
    "HEAD /api/v1/stateless/info HTTP/1.1",
    "DELETE /api/v1/stateless/info HTTP/1.1",
    "GET /nothing HTTP/1.1",
];

const FRAMINGS: [&str; 70] = [
    "content-length: 5",
    "content-length: 0",
    "content-length: 38",
    "content-length: 99999",
    "content-length: 5\r\ncontent-length: 0",
    "content-length: 0\r\nContent-Length: 5",
    "content-length: 5\r\ncontent-length: 5",
    "content-length: 5, 5",
    "content-length: 5, 0",
    "content-length: +5",
    "content-length: -5",
    "content-length: 0x5",
    "content-length: 05",
    "content-length: 5.0",
    "content-length: 5e0",
    "content-length: 5 5",
    "content-length: 5;",
    "content-length:",
    "content-length: ",
    "content-length: \t5\t",
    "content-length: \x0b5",
    "content-length: \u{665}",
    "content-length: \"5\"",
    "content-length : 5",
    "content-length\t: 5",
    "content-length\0: 5",
    " content-length: 5",
    "content_length: 5",
    "content-length: 18446744073709551621",
    "content-length: 4294967301",
    "x: y\r\n content-length: 5",
    "x: y\ncontent-length: 5",
    "x: y\rcontent-length: 5",
    "transfer-encoding: chunked",
    "transfer-encoding: Chunked",
    "Transfer-Encoding:chunked",
    "transfer-encoding: chunked\r\ncontent-length: 5",
    "content-length: 5\r\ntransfer-encoding: chunked",
    "content-length: 0\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding: identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunkedx",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: 'chunked'",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding: \x0cchunked",
    "transfer-encoding: chunked\x0c",
    "transfer-encoding: chunked\0",
    "transfer-encoding: chun\0ked",
    "transfer-encoding:\r\n chunked",
    "transfer-encoding\r\n: chunked",
    "transfer-encoding : chunked",
    "transfer-encoding\x0b: chunked",
    " transfer-encoding: chunked",
    "transfer_encoding: chunked",
    "x-transfer-encoding: chunked",
    "transfer-encoding: ,chunked",
    "transfer-encoding: chunked,",
    "transfer-encoding:",
    "x: y\r\n\ttransfer-encoding: chunked",
    "x: y\ntransfer-encoding: chunked",
    "x: y\rtransfer-encoding: chunked",
];

const FIELDS: [&str; 24] = [
    "host: b",
    "host: a\r\nhost: b",
    "connection: keep-alive",
    "connection: transfer-encoding",
    "connection: content-length",
    "connection: host",
    "expect: 100-continue",
    "expect: x",
    "upgrade: websocket\r\nconnection: upgrade",
    "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: x",
    "te: trailers, chunked",
    "trailer: content-length",
    "content-type: application/json",
    "content-encoding: chunked",
    "x-forwarded-for: 192.0.2.1",
    "x-http-method-override: DELETE",
    "keep-alive: timeout=9",
    "proxy-connection: keep-alive",
    "nonsense",
    ": x",
    "x y: z",
    "x: \x01",
    "x: \0",
    "",
];

const BODIES: [&str; 26] = [
    "",
    "{}",
    "hello",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0;c\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    "5\r\nhello\r\n0\r\ncontent-length: 38\r\n\r\n",
    "05\r\nhello\r\n00\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\rhello\r0\r\r",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "5;\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\nhello\r\n0\r\n\r\n",
    "100000005\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "zz\r\nhello\r\n0\r\n\r\n",
];

const WORDS: [&str; 24] = [
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
    "0",
    "5\r\n",
    "0\r\n\r\n",
    "\r\n\r\n",
    "HTTP/1.0",
    "content-length: 5\r\n",
    "content-length: 0\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    " x: y\r\n",
    "x\r\n",
];

/// The request of this number: from a grammar, or one of `others`; most are changed.
///
/// Its first field is `connection: close`, and a request to [`SMUGGLED`] follows.
pub fn request(number: u64, others: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(number);
    let mut bytes = match random.below(5) {
        0 | 1 if !others.is_empty() => others[random.below(others.len())].clone(),
        _ => from_grammar(&mut random),
    };
    let mut start = 0;
    if let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        bytes.splice(end + 2..end + 2, *b"connection: close\r\n");
        start = end + 2 + b"connection: close\r\n".len();
    }
    if random.percent(60) {
        for _ in 0..=random.below(3) {
            random.change(&mut bytes, start, &WORDS);
        }
    }
    let next = format!("GET {SMUGGLED} HTTP/1.1\r\nhost: a\r\n\r\n");
    bytes.extend_from_slice(next.as_bytes());
    bytes
}

fn from_grammar(random: &mut Random) -> Vec<u8> {
    let mut text = format!("{}\r\nhost: a\r\n", random.one_of(&LINES));
    let mut lines = vec![random.one_of(&FRAMINGS)];
    lines.extend((0..random.below(3)).map(|_| random.one_of(&FIELDS)));
    if random.percent(20) {
        lines.push(random.one_of(&FRAMINGS));
    }
    let last = lines.len() - 1;
    lines.swap(0, random.below(last + 1));
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text += "\r\n";
    text += random.one_of(&BODIES);
    text.into_bytes()
}

/// Checks what became of such a request from this client, behind `before` valid ones.
///
/// # Errors
/// What must not happen.
pub fn check(
    received: &Received,
    seen: &[Seen],
    client: IpAddr,
    before: usize,
) -> Result<(), String> {
    let finals = received.replies.iter().filter(|reply| reply.status >= 200).count();
    if seen.len() > before + 1 || finals > before + 1 {
        return Err(format!("{} requests arrived, and {finals} responses", seen.len()));
    }
    if let Some(seen) = seen.iter().find(|seen| seen.line.contains(SMUGGLED)) {
        return Err(format!("{:?} arrived", seen.line));
    }
    is_own(received, client)
}

/// Checks that each response of an instance is for this client.
///
/// # Errors
/// When one is for another client.
pub fn is_own(received: &Received, client: IpAddr) -> Result<(), String> {
    let own = client.to_string();
    let mut clients = received.replies.iter().flat_map(|reply| reply.head.all("x-client"));
    match clients.find(|client| *client != own) {
        Some(other) => Err(format!("{own} received the response for {other}")),
        None => Ok(()),
    }
}
