//! Reads of sessions, for several lessons.

use anyhow::{Result, ensure};

use crate::lesson::visitor::Visitor;

/// Reads, and those that did not find their session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    pub(super) lost: usize,
    pub(super) all: usize,
}

/// Reads each session so many times, one session after the other: a strategy that takes turns then
/// leads every session to every instance. Reading all sessions in rounds could lead each of them to
/// the same instance every time.
pub(super) async fn read(visitors: &mut [(Visitor, String)], times: usize) -> Result<Reads> {
    let mut reads = Reads::default();
    for (visitor, _) in visitors {
        for _ in 0..times {
            let status = visitor.read().await?.status;
            ensure!(matches!(status, 200 | 404), "a read got {status}");
            reads.all += 1;
            reads.lost += usize::from(status == 404);
        }
    }
    Ok(reads)
}
