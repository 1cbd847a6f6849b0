//! Hostile bytes, each as a connection's first request and as a later one: the response, what the
//! instance receives, and whether the next client gets its own response over the same upstream
//! connection.

mod bodies;
mod fields;
mod lines;

use proto_contracts::ErrorCode;

use crate::client::{Connection, Request};
use crate::testbed::{INFO, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

/// A target that only smuggled requests have.
const SMUGGLED: &str = "GET /api/v1/stateless/random?smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
/// A target that only requests have which follow another one.
const NEXT: &str = "GET /api/v1/stateless/random?next HTTP/1.1\r\nhost: a\r\n\r\n";
/// A valid request line and host.
const GET: &str = "GET /api/v1/stateless/info HTTP/1.1\r\nhost: a\r\n";
const POST: &str = "POST /api/v1/stateless/calculate HTTP/1.1\r\nhost: a\r\n";

/// The expected outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Rejected with this code; the instance receives nothing.
    Rejected(ErrorCode),
    /// Rejected with this code after a valid header, which may have been forwarded; the instance
    /// never receives the whole request.
    CutOff(ErrorCode),
    /// The client disconnected within the request, and gets no response.
    NoResponse,
    /// Unambiguous; the instance receives it in canonical framing.
    Neutralised,
    /// Two requests: both are served, in order, or the first response closes the connection.
    Pipelined,
    /// Incomplete; it times out.
    Slow,
}

use Outcome::{CutOff, Neutralised, NoResponse, Pipelined, Rejected, Slow};

/// A description, the bytes, and the expected outcome.
type Case = (String, Vec<u8>, Outcome);

fn case(what: &str, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    (what.to_owned(), bytes.into(), outcome)
}

fn cases() -> Vec<Case> {
    [lines::cases(), fields::cases(), bodies::cases()].concat()
}

/// The bytes of every case.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    cases().into_iter().map(|(_, bytes, _)| bytes).collect()
}

#[test]
fn bad_requests_are_rejected_or_neutralised_and_affect_no_others() {
    let upstream = Upstream::start("stateless-1");
    upstream.act(Act::Mirror);
    let gateway = Setup::new()
        .stateless([&upstream])
        .section("[timeouts]\nheader_ms = 400\n")
        .checked_once()
        .start();
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for (number, case) in cases.iter().enumerate() {
        for turn in ["first", "later"] {
            let mut client = gateway.connect();
            if turn == "later" {
                assert_eq!(client.send(&Request::get(INFO)).status, 200);
            }
            check(&upstream, client, case, turn);
            next_client(&gateway, &format!("{INFO}?{number}-{turn}"));
        }
    }
    eprintln!("{} cases, each as a first and as a later request", cases.len());
    let smuggled: Vec<_> =
        upstream.targets().into_iter().filter(|target| target.contains("smuggled")).collect();
    assert!(smuggled.is_empty(), "{smuggled:?}");
}

#[track_caller]
fn check(upstream: &Upstream, mut client: Connection, (what, bytes, outcome): &Case, turn: &str) {
    let what = format!("{what}, as a {turn} request");
    let before = upstream.count();
    client.write_all(bytes);
    // A client that shuts down its sending side during a request counts as disconnected.
    if matches!(outcome, Rejected(_) | NoResponse) {
        client.finish();
    }
    let reply = client.try_reply();
    let mut next = None;
    if *outcome == Pipelined
        && reply.as_ref().is_some_and(|reply| reply.header("connection") != Some("close"))
    {
        next = client.try_reply();
        let target = next.as_ref().map(|next| String::from_utf8_lossy(&next.body).into_owned());
        assert_eq!(target.as_deref(), Some("/api/v1/stateless/random?next"), "{what}");
    }
    if matches!(outcome, Neutralised | Pipelined) {
        client.finish();
    }
    let (most_seen, code) = match outcome {
        Rejected(code) | CutOff(code) => (0, Some(*code)),
        Slow => (0, Some(ErrorCode::RequestTimeout)),
        NoResponse => (0, None),
        Neutralised => (1, None),
        Pipelined => (1 + usize::from(next.is_some()), None),
    };
    match (outcome, code, reply) {
        (_, Some(code), Some(reply)) => {
            assert_eq!(reply.status, code.status(), "{what}: {reply:?}");
            assert_eq!(reply.header("connection"), Some("close"), "{what}: {reply:?}");
            if !bytes.starts_with(b"HEAD ") {
                assert_eq!(reply.code(), code, "{what}");
            }
        }
        (Neutralised | Pipelined, _, Some(reply)) => {
            assert_eq!(reply.status, 200, "{what}: {reply:?}")
        }
        (NoResponse, _, None) => {}
        (_, _, reply) => panic!("{what} should be {outcome:?} but got {reply:?}"),
    }
    assert!(
        client.is_closed_by_peer(),
        "{what}: another response follows, or the connection stays open"
    );
    let seen = upstream.count() - before;
    assert!(seen <= most_seen, "{what}: the instance saw {seen} requests");
}

/// Other clients get their own responses: nothing of a hostile client remains on the connection.
#[track_caller]
fn next_client(gateway: &TestGateway, target: &str) {
    let reply = gateway.send(&Request::get(target));
    assert_eq!((reply.status, String::from_utf8_lossy(&reply.body).as_ref()), (200, target));
}
