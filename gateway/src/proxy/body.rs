//! Buffers the beginning of a body before the request is sent upstream.
//!
//! Otherwise a slow client would occupy a connection and a worker of the instance, and count
//! against `max_in_flight`. The bytes are in Pingora's retry buffer, so small bodies are complete
//! before anything is sent, and failed attempts can be retried.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::Result;
use pingora::proxy::Session;
use proto_contracts::ErrorCode;

use crate::config::BodyPace;
use crate::proxy::failure;
use crate::request::RequestContext;

/// Size of Pingora's retry buffer, and of one read of a body.
const AHEAD: u64 = 64 * 1024;

/// Reads a body of up to 64 KiB, or the beginning of a longer one.
///
/// # Errors
/// When the client sends too slowly or too much, or is gone.
pub(super) async fn read_ahead(
    session: &mut Session,
    ctx: &mut RequestContext,
    pace: BodyPace,
    max_bytes: u64,
) -> Result<()> {
    if session.req_header().headers.contains_key(EXPECT) {
        // The gateway sends 100 Continue itself. Pingora would close the connection after this
        // response before the end of the request.
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await.map_err(|error| error.into_down())?;
        session.set_close_on_response_before_downstream_finish(true);
        session.req_header_mut().remove_header(&EXPECT);
    }
    let declared = session.req_header().headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // A chunked body can overflow the buffer, which then drops its content.
    let mut copy = declared.is_none().then(BytesMut::new);
    session.enable_retry_buffering();
    loop {
        session.set_read_timeout(Some(pace.left(ctx.request_bytes, ctx.started.elapsed())));
        let Some(piece) = session.read_request_body().await.map_err(|error| error.into_down())?
        else {
            return Ok(());
        };
        ctx.request_bytes = session.body_bytes_read() as u64;
        if ctx.request_bytes > max_bytes {
            return Err(failure::reject(ctx, ErrorCode::BodyTooLarge));
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

/// Prepends the buffered bytes that the retry buffer lost.
pub(super) fn prepend(ahead: Bytes, body: &mut Option<Bytes>) {
    *body = Some(match body.take() {
        None => ahead,
        Some(piece) => [ahead, piece].concat().into(),
    });
}
