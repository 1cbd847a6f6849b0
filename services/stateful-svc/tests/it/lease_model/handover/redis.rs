//! The state of Redis, and its scripts.

use super::instance::Kind;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Redis {
    pub(super) version: u8,
    pub(super) holder: Option<Mark>,
    /// Copies that may still exist: the lease, and the newest of its tickets. Sorted, one for each
    /// lease.
    pub(super) drops: Vec<(u8, u8)>,
    /// Leases that were declared dead, which is final.
    pub(super) dead: Vec<u8>,
}

/// Identifies an operation, and the copy that it may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) lease: u8,
    pub(super) ticket: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// `None` when the sender has no lease.
    pub(super) mark: Option<Mark>,
}

impl Redis {
    /// Returns the version, and whether the sender may keep a copy.
    pub(super) fn execute(&mut self, operation: &Operation, tickets_order: bool) -> (u8, bool) {
        if operation.kind.writes() {
            self.version += 1;
        }
        if operation.kind == Kind::RoundRobinRead {
            return (self.version, false);
        }
        let Some(mine) = operation.mark else {
            if operation.kind.writes() {
                self.displace();
            }
            return (self.version, false);
        };
        // The sender dropped its earlier copy before it sent this operation.
        if tickets_order {
            self.confirm(mine.lease, mine.ticket - 1);
        } else {
            self.confirm(mine.lease, u8::MAX);
        }
        match self.holder {
            Some(holder)
                if holder.lease == mine.lease
                    && (holder.ticket < mine.ticket || !tickets_order) =>
            {
                self.holder = Some(mine);
            }
            // A later operation of the sender was executed first; its copy may exist already.
            Some(holder) if holder.lease == mine.lease => {
                if operation.kind.writes() {
                    self.displace();
                }
                return (self.version, false);
            }
            _ if operation.kind.takes() => {
                self.displace();
                self.holder = Some(mine);
            }
            _ if operation.kind.writes() => self.displace(),
            _ => {}
        }
        (self.version, self.holder == Some(mine))
    }

    /// The lease, which may be dead, has no copy up to this ticket.
    pub(super) fn confirm(&mut self, lease: u8, ticket: u8) {
        self.drops.retain(|(of, newest)| *of != lease || *newest > ticket);
    }

    pub(super) fn declare_dead(&mut self, lease: u8) {
        self.dead.push(lease);
        self.dead.sort_unstable();
    }

    fn displace(&mut self) {
        let Some(Mark { lease, ticket }) = self.holder.take() else { return };
        match self.drops.iter_mut().find(|(of, _)| *of == lease) {
            Some((_, newest)) => *newest = ticket.max(*newest),
            None => self.drops.push((lease, ticket)),
        }
        self.drops.sort_unstable();
    }
}
