//! Reads the beginning of a body before the request takes a place at an instance.
//!
//! A client that sends its body slowly would otherwise hold a place of `max_in_flight`, a connection and a worker of
//! the instance for as long as it likes. What is read here stands in Pingora's retry buffer, from which the proxy sends
//! it first; so small bodies are complete before anything is sent, and a failed attempt can be repeated.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::Result;
use pingora::proxy::Session;
use proto_contracts::ErrorCode;

use crate::config::BodyPace;
use crate::request::RequestContext;

/// What Pingora's retry buffer holds at most, and the most that one read of a body returns.
const AHEAD: u64 = 64 * 1024;

/// Reads a body of up to 64 KiB; of a longer one the first piece, or what has come when it turns out to be longer.
///
/// # Errors
/// When the client sends too slowly or too much, or has gone.
pub(super) async fn read_ahead(
    session: &mut Session,
    ctx: &mut RequestContext,
    pace: BodyPace,
    max_bytes: u64,
) -> Result<()> {
    if session.req_header().headers.contains_key(EXPECT) {
        // The instance will not be asked whether it wants the body: it is on its way. To Pingora this is a response
        // before the end of the request, after which it would close the connection.
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await.map_err(|error| error.into_down())?;
        session.set_close_on_response_before_downstream_finish(true);
        session.req_header_mut().remove_header(&EXPECT);
    }
    let declared = session.req_header().headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // A body in chunks can overflow the buffer, which then forgets what it held.
    let mut copy = declared.is_none().then(BytesMut::new);
    session.enable_retry_buffering();
    loop {
        session.set_read_timeout(Some(pace.left(ctx.request_bytes, ctx.started.elapsed())));
        let Some(piece) = session.read_request_body().await.map_err(|error| error.into_down())? else { return Ok(()) };
        ctx.request_bytes = session.body_bytes_read() as u64;
        if ctx.request_bytes > max_bytes {
            return Err(ctx.refuse(ErrorCode::BodyTooLarge));
        }
        if let Some(copy) = &mut copy {
            copy.extend_from_slice(&piece);
            if session.as_ref().retry_buffer_truncated() {
                ctx.read_ahead = Some(copy.split().freeze());
                return Ok(());
            }
        }
        if declared.is_some_and(|length| length > AHEAD) || session.is_body_done() {
            return Ok(());
        }
    }
}

/// Puts what was read ahead before the next piece, where the retry buffer has lost it.
pub(super) fn prepend(ahead: Bytes, body: &mut Option<Bytes>) {
    *body = Some(match body.take() {
        None => ahead,
        Some(piece) => [ahead, piece].concat().into(),
    });
}
