//! Responses of an instance that is broken or taken over: what the client receives, and that no
//! byte of one reaches another client.

mod body;
mod head;

use proto_contracts::ErrorCode;

use crate::client::{Reply, Request};
use crate::eventually;
use crate::testbed::{INFO, Setup, engine};
use crate::upstream::{Act, Upstream};

/// What the client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 502.
    Rejected,
    /// 200 with the body `ok`.
    Passed,
    /// This status without a body.
    Bodiless(u16),
    /// The beginning of the response, and the end of the connection.
    CutOff,
}

use Outcome::{Bodiless, CutOff, Passed, Rejected};

/// A response to a request of this method.
struct Case {
    what: String,
    method: &'static str,
    act: Act,
    outcome: Outcome,
}

impl Case {
    /// A response to a request that is not sent twice.
    fn new(what: impl Into<String>, act: Act, outcome: Outcome) -> Self {
        Self { what: what.into(), method: "POST", act, outcome }
    }

    /// These bytes.
    fn raw(bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Self {
        let bytes = bytes.into();
        Self::new(shown(&bytes), Act::Raw(bytes), outcome)
    }

    /// These bytes, and the end of the connection.
    fn closed(bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Self {
        let bytes = bytes.into();
        Self::new(format!("{}, closed", shown(&bytes)), Act::RawThenClose(bytes), outcome)
    }

    /// `ok`, and these bytes while no request waits.
    fn unsolicited(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let act = Act::RawThenMore(with_fields("content-length: 2"), bytes.clone());
        Self::new(format!("{}, later", shown(&bytes)), act, Passed)
    }

    /// The same, to `HEAD`.
    fn for_head(self) -> Self {
        Self { what: format!("to HEAD: {}", self.what), method: "HEAD", ..self }
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(120)].escape_ascii().to_string()
}

/// A response with these fields and the body `ok`.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok").into_bytes()
}

/// A whole response that no client may get.
const LEAKED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-leak: y\r\n\r\nleaked";

#[test]
fn an_invalid_response_reaches_no_client() {
    let upstream = Upstream::start("stateless-1");
    let gateway = Setup::new()
        // All requests share connections to the instance.
        .threads(1)
        .stateless([&upstream])
        .section("[timeouts]\nupstream_response_ms = 300")
        .checked_once()
        .start();
    let cases: Vec<_> = [head::cases(), body::cases()].into_iter().flatten().collect();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mirrored = |number: usize| {
        let target = format!("{INFO}?{number}");
        let reply = gateway.send(&Request::get(&target));
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!((reply.status, &body), (200, &target), "{reply:?}");
        let names = reply.headers.into_iter().map(|(name, _)| name);
        names.collect::<Vec<_>>()
    };
    upstream.act(Act::Mirror);
    let names = mirrored(0);
    for (number, case) in cases.iter().enumerate() {
        let what = format!("after case {number}, {}", case.what);
        upstream.act(case.act.clone());
        // Without an idempotency key a POST is not sent twice.
        let mut client = gateway.connect();
        let line = format!("{} /api/v1/stateless/calculate HTTP/1.1", case.method);
        client.write_all(format!("{line}\r\nhost: a\r\n\r\n").as_bytes());
        let reply = client.try_reply_to(case.method);
        // Pingora's proxy repairs some of them.
        if engine() != "pingora" {
            case.check(reply.as_ref());
        }
        let unsolicited = upstream.unsolicited();
        upstream.act(Act::Mirror);
        if matches!(case.act, Act::RawThenMore(..)) && reply.is_some() {
            eventually("the rest is sent", || (upstream.unsolicited() > unsolicited).then_some(()));
        }
        // Two, since the first may have had another connection to the instance.
        for _ in 0..2 {
            assert_eq!(mirrored(number), names, "{what}");
        }
    }
}

impl Case {
    fn check(&self, reply: Option<&Reply>) {
        let what = &self.what;
        match (self.outcome, reply) {
            (Rejected, Some(reply)) => {
                assert_eq!(reply.status, 502, "{what}");
                if self.method != "HEAD" {
                    assert_eq!(reply.code(), ErrorCode::UpstreamFailed, "{what}");
                }
            }
            (Passed, Some(reply)) => {
                assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]), "{what}");
                let leaked = ["x-leak", "keep-alive"].map(|name| reply.header(name));
                assert_eq!(leaked, [None, None], "{what}");
            }
            (Bodiless(status), Some(reply)) => {
                assert_eq!((reply.status, &reply.body[..]), (status, &b""[..]), "{what}");
            }
            (CutOff, None) => {}
            (outcome, reply) => panic!("{what} should be {outcome:?} but got {reply:?}"),
        }
    }
}
