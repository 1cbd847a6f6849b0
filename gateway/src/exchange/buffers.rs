//! Buffers of a thread, so that idle connections have none.

use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};

use crate::http_strict::FieldLine;

/// Bytes of a buffer.
const SIZE: usize = 64 * 1024;
/// Maximum buffers that a thread keeps for later.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<(Vec<u8>, Vec<FieldLine>)>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that returns to its thread when it is dropped. A request has one only while bytes are
/// moved, not while it waits: so the same few are in the processor's cache for all connections.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// For the lines of a header in it.
    pub(super) lines: Vec<FieldLine>,
}

impl Buffer {
    /// An empty buffer.
    pub(super) fn take() -> Self {
        let free = FREE.with_borrow_mut(Vec::pop);
        let (bytes, lines) = free.unwrap_or_else(|| (Vec::with_capacity(SIZE), Vec::new()));
        Self { bytes, lines }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let (mut bytes, lines) = (mem::take(&mut self.bytes), mem::take(&mut self.lines));
        bytes.clear();
        if bytes.capacity() != SIZE {
            return;
        }
        // An ending thread cannot keep it.
        let _freed = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push((bytes, lines));
            }
        });
    }
}
