//! What may differ between the engines, and what must not.

use crate::differential::cases::Case;
use service_kit::testing::wire::{Received, Reply, Seen, Step};

/// A case's outcome at one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The requests that instances received.
    pub(super) seen: Vec<Seen>,
    pub(super) received: Received,
}

/// A difference that ADR 20 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// White space, long extensions and trailers of chunks pass at Pingora's proxy.
    LaxChunks,
    /// A request that arrives while another one is served ends a connection of Pingora's proxy.
    LaterRequest,
    /// Pingora's proxy closes a connection after a reply of its own to a request with a body.
    LocalReplyWithBody,
}

/// Fields with values of the gateway's own, unless the client sent them.
const OWN: [&str; 6] =
    ["x-request-id", "traceparent", "x-affinity-key", "x-affinity", "set-cookie", "server-timing"];

/// Fields that the gateway reads. They may be named by `Connection`.
const READ: [&str; 3] = ["cookie", "traceparent", "tracestate"];

/// Fields that Pingora's proxy removes.
const REMOVED: [&str; 3] = ["http2-settings", "proxy-authenticate", "proxy-authorization"];

/// Compares the outcomes. Returns the difference that is named, if any.
///
/// # Errors
/// The difference that is not named.
pub(super) fn compare(
    case: &Case,
    plain: &Outcome,
    pingora: &Outcome,
) -> Result<Option<Named>, String> {
    let bytes = String::from_utf8_lossy(&case.bytes()).into_owned();
    let [plain, pingora] = [plain, pingora].map(|outcome| masked(outcome, &bytes));
    for (engine, outcome) in [("plain", &plain), ("pingora", &pingora)] {
        if let Some(fault) = &outcome.received.fault {
            return Err(format!("a response of {engine}: {fault}"));
        }
    }
    let is_same = plain.seen == pingora.seen
        && plain.received.replies == pingora.received.replies
        && plain.received.kept == pingora.received.kept;
    if is_same {
        return Ok(None);
    }
    let named = named(case, &plain, &pingora);
    named.map(Some).ok_or_else(|| {
        let shown = |outcome: &Outcome| {
            let Received { replies, kept, .. } = &outcome.received;
            let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
            let lines: Vec<_> = outcome.seen.iter().map(|seen| &seen.line).collect();
            format!("{statuses:?}, kept: {kept}, seen: {lines:?}")
        };
        let first = first_difference(&plain, &pingora);
        format!("plain {}\n  pingora {}\n  {first}", shown(&plain), shown(&pingora))
    })
}

fn named(case: &Case, plain: &Outcome, pingora: &Outcome) -> Option<Named> {
    let (strict, lax) = (&plain.received.replies, &pingora.received.replies);
    // What comes before is equal.
    let same = strict.iter().zip(lax).take_while(|(strict, lax)| strict == lax).count();
    // These are served by Pingora's proxy anyway.
    let bytes = String::from_utf8_lossy(&case.bytes()).to_ascii_lowercase();
    let is_handed_over = bytes.contains("expect") || bytes.contains("upgrade");
    let is_stricter = |reply: &Reply| {
        reply.status == 400 && reply.head.all("x-served-by").is_empty() && bytes.contains("chunked")
    };
    if same + 1 == strict.len()
        && is_stricter(&strict[same])
        && !plain.received.kept
        && pingora.seen.starts_with(&plain.seen)
    {
        return Some(Named::LaxChunks);
    }
    if may_arrive_early(case, plain, pingora)
        && (is_ended(pingora, plain, same) || is_handed_over && is_ended(plain, pingora, same))
    {
        return Some(Named::LaterRequest);
    }
    if same + 1 == lax.len() && same < strict.len() && !pingora.received.kept {
        let (mut kept, mut closed) = (strict[same].clone(), lax[same].clone());
        let is_local = closed.head.all("x-served-by").is_empty();
        kept.head.fields.retain(|(name, _)| name != "connection");
        closed.head.fields.retain(|(name, _)| name != "connection");
        if is_local && kept == closed && plain.seen.starts_with(&pingora.seen) {
            return Some(Named::LocalReplyWithBody);
        }
    }
    None
}

/// Whether a request, or what looks like one, can arrive while another one is served.
fn may_arrive_early(case: &Case, plain: &Outcome, pingora: &Outcome) -> bool {
    let in_vain = plain.received.in_vain || pingora.received.in_vain;
    let awaited = case.steps.iter().filter(|step| **step == Step::Await).count();
    let finals = plain.received.replies.iter().filter(|reply| reply.status >= 200).count();
    let is_last_served = plain.seen.last().is_some_and(|seen| seen.line.contains("?last"));
    awaited == 0 || in_vain || !is_last_served || finals != awaited + 1 || ends_with_a_line(case)
}

/// Whether an empty line follows a body whose response is awaited. The next request may begin with
/// one.
fn ends_with_a_line(case: &Case) -> bool {
    let mut sent = Vec::new();
    case.steps.iter().any(|step| match step {
        Step::Send(bytes) => {
            sent.extend_from_slice(bytes);
            false
        }
        Step::Await => {
            sent.ends_with(b"\r\n\r\n\r\n")
                || sent.ends_with(b"\r\n") && !sent.ends_with(b"\r\n\r\n")
        }
        Step::Gap => false,
    })
}

/// Whether the connection ended after this many responses, or with the request that was served.
fn is_ended(outcome: &Outcome, other: &Outcome, same: usize) -> bool {
    let replies = &outcome.received.replies;
    let fails = |reply: &Reply| {
        let is_served = !reply.head.all("x-served-by").is_empty();
        (reply.is_cut || reply.status == 400 && is_served) && same + 1 == replies.len()
    };
    replies.get(same).is_none_or(fails)
        && !outcome.received.kept
        && other.seen.starts_with(&outcome.seen)
}

fn masked(outcome: &Outcome, sent: &str) -> Outcome {
    let mut outcome = outcome.clone();
    let names_read = sent
        .to_ascii_lowercase()
        .lines()
        .any(|line| line.starts_with("connection:") && READ.iter().any(|name| line.contains(name)));
    // The last response says so; Pingora's proxy first waits for the rest of a body.
    let last = outcome.received.replies.last();
    let closes = last.is_some_and(|reply| reply.head.all("connection") == ["close"]);
    outcome.received.kept &= !closes;
    let mask = |fields: &mut Vec<(String, String)>| {
        for (name, value) in fields.iter_mut() {
            if OWN.contains(&&**name) && !sent.contains(&**value) {
                "*".clone_into(value);
            }
        }
        fields.sort();
    };
    for seen in &mut outcome.seen {
        // An empty body in chunks, or none.
        let is_empty = seen.body.is_empty();
        seen.fields.retain(|(name, _)| !is_empty || name != "transfer-encoding");
        // The plain exchange forwards what it reads.
        seen.fields.retain(|(name, _)| !names_read || !READ.contains(&&**name));
        seen.fields.retain(|(name, _)| !REMOVED.contains(&&**name));
        mask(&mut seen.fields);
    }
    for reply in &mut outcome.received.replies {
        // HTTP/1.1 keeps a connection without saying so.
        reply.head.fields.retain(|(name, value)| {
            name != "date" && (name != "connection" || value != "keep-alive")
        });
        mask(&mut reply.head.fields);
        // A rejected request has the id that was in its first packets.
        let is_local = reply.head.all("x-served-by").is_empty();
        let ids = reply.head.fields.iter_mut().filter(|(name, _)| name == "x-request-id");
        ids.filter(|_| is_local).for_each(|(_, id)| "*".clone_into(id));
        let id = br#""request_id":""#;
        let at = reply.body.windows(id.len()).position(|window| window == id);
        if let Some(value) = at.and_then(|at| reply.body.get_mut(at + id.len()..at + id.len() + 36))
        {
            value.fill(b'*');
        }
    }
    outcome
}

/// The first difference in detail.
fn first_difference(plain: &Outcome, pingora: &Outcome) -> String {
    let seen = plain.seen.iter().zip(&pingora.seen).find(|(plain, pingora)| plain != pingora);
    if let Some((plain, pingora)) = seen {
        return format!("an instance received {plain:?}\n  and {pingora:?}");
    }
    let (plain, pingora) = (&plain.received.replies, &pingora.received.replies);
    let replies = plain.iter().zip(pingora).find(|(plain, pingora)| plain != pingora);
    replies.map_or_else(String::new, |(plain, pingora)| {
        let shown = |reply: &Reply| {
            let body = reply.body[..reply.body.len().min(400)].escape_ascii();
            format!("{:?} cut: {} \"{body}\"", reply.head, reply.is_cut)
        };
        format!("a client received {}\n  and {}", shown(plain), shown(pingora))
    })
}
