//! Reads into the free capacity of a buffer.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads behind the bytes of a buffer, which has free capacity. 0: the other side has closed.
pub fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut impl BufMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(bytes)).poll(context)
}
