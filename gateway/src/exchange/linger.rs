//! Closes a connection whose client may still send.

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long closing may take, and how long further input is discarded. Closing at once would send a
/// reset, and the client could lose the response.
const LINGER: Duration = Duration::from_secs(2);

/// Closes the sending side, and discards what the client still sends, for a time.
pub async fn linger(stream: &mut Stream) {
    // By TLS it waits for a client that reads nothing.
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, stream.shutdown()).await {
        discard(stream, LINGER).await;
    }
}

/// Ends the connection after a complete response. By TLS the client is informed: else it could not
/// tell the end of a body without a length from a cut.
pub(super) async fn close(stream: &mut Stream) {
    if stream.get_ssl_digest().is_some() {
        let _gone = tokio::time::timeout(LINGER, stream.shutdown()).await;
    }
}

/// Discards what the client sends until it closes the connection, at most for this time.
pub async fn discard(stream: &mut Stream, within: Duration) {
    let mut rest = Vec::with_capacity(16 * 1024);
    let _still_open = tokio::time::timeout(within, async {
        while stream.read_buf(&mut rest).await.is_ok_and(|read| read > 0) {
            rest.clear();
        }
    })
    .await;
}
