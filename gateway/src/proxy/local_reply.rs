//! Writes local replies to Pingora's session.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::decision::LocalReply;
use crate::decision::local_reply::{Document, compose};
use crate::decision::retry::ResponseProgress;
use crate::proxy::{failure, fields};
use crate::request::RequestContext;

/// How long the rest of a rejected body is discarded. Closing at once would send a reset, and the
/// client could lose the response.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the reply, unless a response was begun.
///
/// # Errors
/// When the client is gone.
pub(super) async fn write(
    session: &mut Session,
    ctx: &RequestContext,
    reply: LocalReply,
) -> Result<()> {
    // After a switch of protocols its body would be frames of the other protocol.
    if failure::progress(session.response_written()) == ResponseProgress::Begun {
        return Ok(());
    }
    let Document { status, fields, body } = compose(reply, ctx);
    let mut response = ResponseHeader::build_no_case(status, Some(8))?;
    for (name, value) in fields {
        response.insert_header(name, value)?;
    }
    fields::add_own(&mut response, ctx, None)?;

    let body_left = !session.is_body_done();
    if body_left {
        // The rest of the body would be read as the next request.
        session.set_keepalive(None);
    }
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { body };
    session.write_response_header(Box::new(response), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), true).await?;
    }
    if body_left {
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        // The response is sent; errors of the rest of the body do not matter.
        let _abandoned = session.drain_request_body().await;
    }
    Ok(())
}
