//! Writes the headers that the gateway sends.

use http::header::{CONNECTION, COOKIE, HOST, TRANSFER_ENCODING};

use crate::decision::local_reply::Document;
use crate::decision::{Timing, forward};
use crate::exchange::download::Coding;
use crate::exchange::head::{Request, Response};
use crate::http_strict::{FieldKind, FieldLine, Version};
use crate::request::trace::SentTrace;
use crate::request::{FieldLines, FieldSink, RequestContext};

/// The `Connection` field of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is kept, as the version implies.
    Implied,
    /// It is kept; HTTP/1.0 clients need `keep-alive`.
    Explicit,
    /// It is closed.
    Close,
}

impl Keep {
    fn write(self, offer: Offer, lines: &mut FieldLines<'_>) {
        let options: &[u8] = match (self, offer) {
            (Self::Implied, Offer::None) => return,
            (Self::Implied, Offer::Upgrade) => b"upgrade",
            (Self::Explicit, Offer::None) => b"keep-alive",
            (Self::Explicit, Offer::Upgrade) => b"keep-alive, upgrade",
            (Self::Close, Offer::None) => b"close",
            (Self::Close, Offer::Upgrade) => b"close, upgrade",
        };
        lines.set(&CONNECTION, options);
    }
}

/// Which other protocol a response offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    None,
    /// That of its `Upgrade`: without it, 426 would not say what is required (RFC 9110, 15.5.22).
    Upgrade,
}

/// Writes the request's header for the instance.
pub(super) fn request(request: &Request<'_>, ctx: &RequestContext, out: &mut Vec<u8>) {
    let Request { head, bytes, target } = request;
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let forwarded = forward::to_instance(request, ctx, &mut FieldLines(out));
    let mut has_host = false;
    for line in head.lines {
        let keep = match line.kind {
            FieldKind::Host => {
                has_host = true;
                true
            }
            FieldKind::Traceparent => forwarded.trace == SentTrace::Both,
            FieldKind::Tracestate => forwarded.trace != SentTrace::Dropped,
            FieldKind::Cookie => forwarded.cookies.is_none(),
            FieldKind::XRequestId | FieldKind::Expect => false,
            kind => !kind.is_internal(),
        };
        if keep && !line.is_hop_by_hop() {
            copy_line(line, bytes, out);
        }
    }
    let mut lines = FieldLines(out);
    if !has_host {
        // Optional in HTTP/1.0.
        lines.set(&HOST, b"gateway");
    }
    for cookie in forwarded.cookies.iter().flatten() {
        lines.append(&COOKIE, cookie);
    }
    if head.chunked {
        lines.set(&TRANSFER_ENCODING, b"chunked");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the response's header for a client of this version.
pub(super) fn response(
    response: &Response<'_>,
    version: Version,
    ctx: &RequestContext,
    timing: Option<Timing>,
    coding: Coding,
    keep: Keep,
    out: &mut Vec<u8>,
) {
    let Response { head, bytes } = response;
    status_line(head.status, &bytes[head.reason.clone()], out);
    let replaces_cache_control = forward::replaces_cache_control(response, ctx);
    let offers_upgrade = head.status == 426 && head.connection.upgrade;
    let offer = if offers_upgrade { Offer::Upgrade } else { Offer::None };
    for line in head.lines {
        let keep = match line.kind {
            FieldKind::CacheControl => !replaces_cache_control,
            // RFC 9110, section 8.6.
            FieldKind::ContentLength => head.status != 204,
            kind => !forward::is_hidden(kind, ctx),
        };
        let is_offer = offer == Offer::Upgrade && line.kind == FieldKind::Upgrade;
        if keep && (is_offer || !line.is_hop_by_hop()) {
            copy_line(line, bytes, out);
        }
    }
    let mut lines = FieldLines(out);
    forward::to_client(response, ctx, timing, &mut lines);
    match coding {
        // The header of a response to HEAD. HTTP/1.0 has no codings.
        Coding::Unchanged if head.chunked && version == Version::Http11 => {
            lines.set(&TRANSFER_ENCODING, b"chunked");
        }
        Coding::Rechunked | Coding::Enchunked => lines.set(&TRANSFER_ENCODING, b"chunked"),
        Coding::Unchanged | Coding::Dechunked | Coding::UntilClose => {}
    }
    keep.write(offer, &mut lines);
    out.extend_from_slice(b"\r\n");
}

/// Writes the header of an interim response for the client.
pub(super) fn interim(response: &Response<'_>, ctx: &RequestContext, out: &mut Vec<u8>) {
    let Response { head, bytes } = response;
    status_line(head.status, &bytes[head.reason.clone()], out);
    for line in head.lines {
        if !line.is_hop_by_hop() && !forward::is_hidden(line.kind, ctx) {
            copy_line(line, bytes, out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the header of a local reply.
pub(super) fn local_reply(
    document: &Document,
    ctx: &RequestContext,
    keep: Keep,
    out: &mut Vec<u8>,
) {
    document.write_head(out);
    let mut lines = FieldLines(out);
    forward::to_client(document, ctx, None, &mut lines);
    keep.write(Offer::None, &mut lines);
    out.extend_from_slice(b"\r\n");
}

fn status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Copies a field, its name in lower case as in HTTP/2, with one space before its value.
fn copy_line(line: &FieldLine, bytes: &[u8], out: &mut Vec<u8>) {
    let (begin, name, value) = (out.len(), line.name(), line.value());
    let end = value.end + 2;
    let has_this_form = value.start == name.end + 2
        && bytes[name.end + 1] == b' '
        && bytes.get(value.end..end) == Some(b"\r\n");
    if has_this_form {
        out.extend_from_slice(&bytes[name.start..end]);
    } else {
        out.extend_from_slice(&bytes[name.clone()]);
        out.extend_from_slice(b": ");
        out.extend_from_slice(&bytes[value]);
        out.extend_from_slice(b"\r\n");
    }
    if line.may_have_upper() {
        out[begin..begin + name.len()].make_ascii_lowercase();
    }
}
