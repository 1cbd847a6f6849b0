//! Headers: the status line, the fields, what says where the body ends.

use super::{Case, LEAKED, Passed, Rejected, with_fields};

const FRAMINGS: [&str; 51] = [
    "content-length: 2\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 2",
    "transfer-encoding: chunked\r\ncontent-length: 0",
    "content-length: 2\r\ncontent-length: 2",
    "content-length: 2\r\ncontent-length: 3",
    "content-length: 0\r\ncontent-length: 2",
    "Content-Length: 2\r\ncontent-length: 0",
    "content-length: 2, 2",
    "content-length: 2, 3",
    "content-length: 2,",
    "content-length: ,2",
    "content-length: 2 2",
    "content-length: 2\t2",
    "content-length: 2;",
    "content-length: +2",
    "content-length: -2",
    "content-length: 0x2",
    "content-length: 02x",
    "content-length: 2.0",
    "content-length: 2e0",
    "content-length: 1_0",
    "content-length: two",
    "content-length: \u{662}",
    "content-length:",
    "content-length: \"2\"",
    "content-length: 99999999999999999999",
    "content-length: 18446744073709551618",
    "content-length: \x0b2",
    "content-length: \x0c2",
    "content-length : 2",
    "content-length: 2\r\n 3",
    "transfer-encoding: gzip",
    "transfer-encoding: deflate",
    "transfer-encoding: identity",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: CHUNKED, gzip",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked,",
    "transfer-encoding: ,chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunk ed",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked;a=b",
    "transfer-encoding:",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding : chunked",
];

const FIELDS: [&str; 22] = [
    "content-length: 2\r\nx y: z",
    "content-length: 2\r\n: z",
    "content-length: 2\r\nx",
    "content-length: 2\r\nx\t: z",
    "content-length: 2\r\nx: y\r\n z",
    "content-length: 2\r\n\tx: y",
    " x: y\r\ncontent-length: 2",
    "content-length: 2\r\nx: y\0z",
    "content-length: 2\r\nx\0: y",
    "\0: y\r\ncontent-length: 2",
    "content-length: 2\r\nx: \x01",
    "content-length: 2\r\nx: y\x0b",
    "content-length: 2\r\nx: y\rz",
    "content-length: 2\r\nx: y\r",
    "content-length: 2\r\nx\r: y",
    "content-length: 2\r\nx: y\nz: a",
    "content-length: 2\r\nlocation: /\nset-cookie: a=b",
    "content-length: 2\r\nx\u{e4}: y",
    "content-length: 2\r\nx: \x7f",
    "content-length: 2\r\nx(y): z",
    "content-length: 2\r\nx/y: z",
    "content-length: 2\r\n\"x\": y",
];

const STATUS_LINES: [&str; 40] = [
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 abc OK",
    "HTTP/1.1 099 OK",
    "HTTP/1.1 000 OK",
    "HTTP/1.1 600 OK",
    "HTTP/1.1 -20 OK",
    "HTTP/1.1 +20 OK",
    "HTTP/1.1 0x200 OK",
    "HTTP/1.1 2 00 OK",
    "HTTP/1.1 200OK",
    "HTTP/1.1 200\tOK",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 200 O\x01K",
    "HTTP/1.1 200 O\rK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1200 OK",
    "HTTP/1.1 ",
    "HTTP/1.1",
    " HTTP/1.1 200 OK",
    "HTTP /1.1 200 OK",
    "HTTP/ 1.1 200 OK",
    "HTTP/1.10 200 OK",
    "HTTP/11 200 OK",
    "HTTP/2 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/0.9 200 OK",
    "http/1.1 200 OK",
    "HTTPS/1.1 200 OK",
    "RTSP/1.0 200 OK",
    "ICY 200 OK",
    "200 OK",
    "GET / HTTP/1.1",
    "PRI * HTTP/2.0",
    "SSH-2.0-OpenSSH_9.2",
    "220 mail.example ESMTP",
    "<html>",
    "hello",
];

/// Interim responses that end the exchange, and what is none.
fn interim() -> Vec<Case> {
    let ok = String::from_utf8(with_fields("content-length: 2")).expect("text");
    let first = |head: &str| Case::raw(format!("{head}\r\n\r\n{ok}"), Rejected);
    vec![
        first("HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: websocket"),
        first("HTTP/1.1 101 Up"),
        first("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: x"),
        first("HTTP/1.1 100 Go\r\ncontent-length: 2"),
        first("HTTP/1.1 103 Hint\r\ntransfer-encoding: chunked"),
        first("HTTP/1.1 103 Hint\r\ntransfer-encoding: gzip"),
        first("HTTP/1.1 103 Hint\r\nlink : x"),
        first("HTTP/1.1 103 Hint\r\nlink: x\r\n y"),
        first("HTTP/1.1 1000 Hint"),
        first(&format!("HTTP/1.1 103 Hint\r\nx: {}", "y".repeat(70_000))),
        Case::raw("HTTP/1.1 103 Hint\r\n\r\n".repeat(17), Rejected),
        Case::raw("HTTP/1.1 100 Go\r\n\r\n".repeat(1_000), Rejected),
        Case::closed("HTTP/1.1 103 Hint\r\n\r\n", Rejected),
        Case::closed("HTTP/1.1 103 Hint\r\n\r\nok", Rejected),
        Case::raw(format!("HTTP/1.1 103 Hint\r\n\r\n{ok}"), Passed),
        Case::raw(format!("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 199 X\r\n\r\n{ok}"), Passed),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let fields = FRAMINGS.into_iter().chain(FIELDS).map(with_fields);
    let lines =
        STATUS_LINES.map(|line| format!("{line}\r\ncontent-length: 2\r\n\r\nok").into_bytes());
    let others = [
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nok".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok".to_vec(),
        b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        with_fields(&format!("content-length: 2\r\nx: {}", "y".repeat(70_000))),
        with_fields(&format!("content-length: 2\r\n{}: y", "x".repeat(70_000))),
        with_fields(&format!("{}content-length: 2", "x: y\r\n".repeat(200))),
        with_fields(&format!("{}content-length: 2", "x: y\r\n".repeat(128))),
        with_fields(&format!("content-length: 2\r\nconnection: {}", "x,".repeat(200))),
    ];
    let rejected = fields.chain(lines).chain(others).map(|bytes| Case::raw(bytes, Rejected));
    let passed = [
        "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:  \t 0002 \t\r\nx:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-leak\r\nx-leak: y\r\n\
         keep-alive: timeout=9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: \u{e4}\r\n\r\nok",
    ];
    let closed = [
        "",
        "HTTP/1.1 200 OK\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
        "HTTP/1.1 2",
        // Frames of HTTP/2: settings, then a stream's end.
        "\0\0\x12\x04\0\0\0\0\0\0\0\x07\x08\0\0\0\0\0",
        // An alert of TLS.
        "\x15\x03\x01\0\x02\x02\x28",
    ];
    let unsolicited = [
        LEAKED,
        "HTTP/1.1 103 Hint\r\nx-leak: y\r\n\r\n",
        "HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "leaked",
        "\r\n",
    ];
    rejected
        .chain(passed.map(|text| Case::raw(text, Passed)))
        .chain(closed.map(|text| Case::closed(text, Rejected)))
        .chain(unsolicited.map(Case::unsolicited))
        .chain(interim())
        .collect()
}
