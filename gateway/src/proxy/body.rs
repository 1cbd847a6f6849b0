//! Buffers the beginning of a body before the request is sent upstream.
//!
//! Otherwise a slow client would occupy a connection and a worker of the instance, and count
//! against `max_in_flight`. The bytes are in Pingora's retry buffer, so small bodies are complete
//! before anything is sent, and failed attempts can be retried.

use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use pingora::Result;
use pingora::proxy::Session;

use crate::decision;
use crate::proxy::failure;
use crate::request::{RequestContext, RequestHead as _};

/// Size of Pingora's retry buffer, and of one read of a body.
const AHEAD: u64 = 64 * 1024;

/// Reads a body of up to 64 KiB, or the beginning of a longer one.
///
/// # Errors
/// When the client sends too slowly or too much, or is gone.
pub(super) async fn read_ahead(session: &mut Session, ctx: &mut RequestContext) -> Result<()> {
    if session.req_header().headers.contains_key(EXPECT) {
        // The gateway sends 100 Continue itself. Pingora would close the connection after this
        // response before the end of the request.
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await.map_err(|error| error.into_down())?;
        session.set_close_on_response_before_downstream_finish(true);
        session.req_header_mut().remove_header(&EXPECT);
    }
    let declared = session.req_header().content_length();
    // A chunked body can overflow the buffer, which then drops its content.
    let mut copy = declared.is_none().then(BytesMut::new);
    session.enable_retry_buffering();
    received(session, ctx)?;
    loop {
        let Some(piece) = session.read_request_body().await.map_err(|error| error.into_down())?
        else {
            return Ok(());
        };
        received(session, ctx)?;
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

/// Records how much of the body has arrived, and gives its next bytes the time that is left.
///
/// # Errors
/// When it is too large.
pub(super) fn received(session: &mut Session, ctx: &mut RequestContext) -> Result<()> {
    let left = decision::body_received(ctx, session.body_bytes_read() as u64)
        .map_err(|code| failure::reject(ctx, code))?;
    session.set_read_timeout(Some(left));
    Ok(())
}

/// Prepends the buffered bytes that the retry buffer lost.
pub(super) fn prepend(ahead: Bytes, body: &mut Option<Bytes>) {
    *body = Some(match body.take() {
        None => ahead,
        Some(piece) => [ahead, piece].concat().into(),
    });
}
