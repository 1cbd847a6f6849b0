//! Reads into the free capacity of a buffer.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads behind the bytes of a buffer that has free capacity. 0: the other side has closed.
pub fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(bytes)).poll(context)
}
