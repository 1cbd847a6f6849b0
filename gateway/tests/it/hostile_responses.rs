//! Responses of an instance that is broken or taken over: what the client receives, and that no
//! byte of one reaches another client.

use proto_contracts::ErrorCode;

use crate::client::Request;
use crate::testbed::{INFO, Setup, engine};
use crate::upstream::{Act, Upstream};

/// What the client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 502.
    Rejected,
    /// 200 with the body `ok`.
    Passed,
    /// The beginning of the response, and the end of the connection.
    CutOff,
}

use Outcome::{CutOff, Passed, Rejected};

type Case = (String, Act, Outcome);

const POST: &[u8] = b"POST /api/v1/stateless/calculate HTTP/1.1\r\nhost: a\r\n\r\n";

/// A response with these fields and the body `ok`.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok").into_bytes()
}

const FRAMINGS: [&str; 28] = [
    "content-length: 2\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 2",
    "content-length: 2\r\ncontent-length: 2",
    "content-length: 2\r\ncontent-length: 3",
    "Content-Length: 2\r\ncontent-length: 0",
    "content-length: 2, 2",
    "content-length: 2, 3",
    "content-length: +2",
    "content-length: -2",
    "content-length: 0x2",
    "content-length: 2.0",
    "content-length: 2e0",
    "content-length: two",
    "content-length:",
    "content-length: \"2\"",
    "content-length: 99999999999999999999",
    "content-length: \x0b2",
    "content-length : 2",
    "transfer-encoding: gzip",
    "transfer-encoding: identity",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked;a=b",
    "transfer-encoding:",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding : chunked",
];

const FIELDS: [&str; 12] = [
    "content-length: 2\r\nx y: z",
    "content-length: 2\r\n: z",
    "content-length: 2\r\nx",
    "content-length: 2\r\nx\t: z",
    "content-length: 2\r\nx: y\r\n z",
    " x: y\r\ncontent-length: 2",
    "content-length: 2\r\nx: y\0z",
    "content-length: 2\r\nx: y\rz",
    "content-length: 2\r\nx: y\nz: a",
    "content-length: 2\r\nx\u{e4}: y",
    "content-length: 2\r\nx: \x7f",
    "content-length: 2\r\nx(y): z",
];

const STATUS_LINES: [&str; 17] = [
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 abc OK",
    "HTTP/1.1 099 OK",
    "HTTP/1.1 600 OK",
    "HTTP/1.1 -20 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1200 OK",
    "HTTP/2 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/0.9 200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "200 OK",
    "GET / HTTP/1.1",
    "hello",
];

fn rejected() -> Vec<Case> {
    let fields = FRAMINGS.into_iter().chain(FIELDS).map(with_fields);
    let lines =
        STATUS_LINES.map(|line| format!("{line}\r\ncontent-length: 2\r\n\r\nok").into_bytes());
    let chunked = |head: &str, body: &str| {
        format!("{head}\r\ntransfer-encoding: chunked\r\n\r\n{body}").into_bytes()
    };
    let body = "2\r\nok\r\n0\r\n\r\n";
    let others = [
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nok".to_vec(),
        chunked("HTTP/1.0 200 OK", body),
        chunked("HTTP/1.1 204 No", body),
        b"HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        b"HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nok".to_vec(),
        b"HTTP/1.1 100 Go\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        b"HTTP/1.1 103 Hint\r\n\r\n".repeat(17),
        with_fields(&format!("content-length: 2\r\nx: {}", "y".repeat(70_000))),
        with_fields(&format!("{}content-length: 2", "x: y\r\n".repeat(200))),
        chunked("HTTP/1.1 200 OK", "zz\r\nok\r\n0\r\n\r\n"),
        chunked("HTTP/1.1 200 OK", "2\nok\r\n0\r\n\r\n"),
        chunked("HTTP/1.1 200 OK", "-2\r\nok\r\n0\r\n\r\n"),
    ];
    let all = fields.chain(lines).chain(others).map(|bytes| {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        (what, Act::Raw(bytes), Rejected)
    });
    let half = Act::RawThenClose(b"HTTP/1.1 200 OK\r\nx".to_vec());
    all.chain([
        ("nothing".to_owned(), Act::Close, Rejected),
        ("half a header".to_owned(), half, Rejected),
    ])
    .collect()
}

fn others() -> Vec<Case> {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n";
    let another = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nleaked";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let passed =
        |what: &str, bytes: &str| (what.to_owned(), Act::Raw(bytes.as_bytes().to_vec()), Passed);
    let closed = |what: &str, bytes: &str, outcome| {
        (what.to_owned(), Act::RawThenClose(bytes.as_bytes().to_vec()), outcome)
    };
    vec![
        passed("another response behind a length", &format!("{head}\r\nok{another}")),
        passed("bytes behind chunks", &format!("{chunked}2\r\nok\r\n0\r\n\r\n{another}")),
        passed("trailers", &format!("{chunked}2\r\nok\r\n0\r\nx-leak: y\r\n\r\n")),
        passed("chunk extensions", &format!("{chunked}2;a=b\r\nok\r\n0;c\r\n\r\n")),
        passed("an interim response first", &format!("HTTP/1.1 103 Hint\r\n\r\n{head}\r\nok")),
        passed("no reason", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
        passed(
            "fields for the gateway alone",
            &format!("{head}connection: x-leak\r\nx-leak: y\r\nkeep-alive: timeout=9\r\n\r\nok"),
        ),
        closed("no length", "HTTP/1.1 200 OK\r\n\r\nok", Passed),
        closed("less than the length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", CutOff),
        closed("no last chunk", &format!("{chunked}2\r\nok\r\n"), CutOff),
        closed("half a chunk", &format!("{chunked}9\r\nok"), CutOff),
    ]
}

#[test]
fn an_invalid_response_reaches_no_client() {
    let upstream = Upstream::start("stateless-1");
    let timeouts = "[timeouts]\nupstream_response_ms = 300";
    let gateway = Setup::new().stateless([&upstream]).section(timeouts).checked_once().start();
    let cases = [rejected(), others()].concat();
    for (number, (what, act, outcome)) in cases.iter().enumerate() {
        upstream.act(act.clone());
        // Without an idempotency key nothing is sent twice.
        let mut client = gateway.connect();
        client.write_all(POST);
        let reply = client.try_reply();
        match (outcome, &reply) {
            // Pingora's proxy repairs some of them.
            _ if engine() == "pingora" => {}
            (Rejected, Some(reply)) => {
                assert_eq!(reply.status, 502, "{what}");
                assert_eq!(reply.code(), ErrorCode::UpstreamFailed, "{what}");
            }
            (Passed, Some(reply)) => {
                assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]), "{what}");
                let leaked = ["x-leak", "keep-alive"].map(|name| reply.header(name));
                assert_eq!(leaked, [None, None], "{what}");
            }
            (CutOff, None) => {}
            _ => panic!("{what} should be {outcome:?} but got {reply:?}"),
        }
        upstream.act(Act::Mirror);
        let target = format!("{INFO}?{number}");
        let next = gateway.send(&Request::get(&target));
        let body = String::from_utf8_lossy(&next.body);
        assert_eq!((next.status, body.as_ref()), (200, target.as_str()), "after {what}");
    }
}
