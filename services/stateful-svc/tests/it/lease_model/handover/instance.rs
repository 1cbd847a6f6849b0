//! The state of an instance, and its handling of requests.

use super::fault::Rule;
use super::redis::{Mark, Operation};
use super::{Handover, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    StickyRead,
    StickyWrite,
    RoundRobinRead,
    RoundRobinWrite,
    /// A repeated or rejected write: it changes nothing and leaves no copy.
    StickyRepeat,
    RoundRobinRepeat,
}

impl Kind {
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::StickyWrite | Self::RoundRobinWrite)
    }

    pub(super) fn takes(self) -> bool {
        matches!(self, Self::StickyWrite | Self::StickyRead | Self::StickyRepeat)
    }

    fn leaves_copy(self) -> bool {
        !matches!(self, Self::StickyRepeat | Self::RoundRobinRepeat)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    /// The current or last lease.
    pub(super) lease: Option<u8>,
    /// The next lease's number; leases of different instances differ.
    next_lease: u8,
    /// By its own clock, its lease has not expired.
    pub(super) trusted: bool,
    /// Its subscription to drop requests is broken.
    pub(super) disconnected: bool,
    /// The ticket drawn last.
    pub(super) ticket: u8,
    pub(super) entry: Entry,
}

/// A client of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// Its instance.
    pub(super) at: usize,
    /// How many requests it has left.
    pub(super) left: u8,
    pub(super) stage: Stage,
}

impl Client {
    pub(super) fn new(at: usize, left: u8) -> Self {
        Self { at, left, stage: Stage::Idle }
    }
}

/// The instance's entry for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Empty,
    /// Reserved by the operation with this ticket.
    Pending(u8),
    Hot(u8),
}

/// The stage of a request. `known` is the newest version known at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Idle,
    /// The lease is trusted; the lookup of the copy is next.
    Checked {
        known: u8,
    },
    /// The copy was looked up; before the lease check only without [`Rule::LeaseFirst`].
    Found {
        known: u8,
        version: u8,
    },
    Sent {
        known: u8,
        operation: Operation,
    },
    /// Redis has responded; drops may remain.
    Settling {
        known: u8,
        operation: Operation,
        version: u8,
        may_keep: bool,
    },
    Settled {
        known: u8,
        operation: Operation,
        version: u8,
        may_keep: bool,
    },
}

impl Instance {
    pub(super) fn new(place: usize) -> Self {
        let first = place as u8 * 8;
        Self {
            lease: Some(first),
            next_lease: first + 1,
            trusted: true,
            disconnected: false,
            ticket: 0,
            entry: Entry::Empty,
        }
    }

    pub(super) fn drop_copy(&mut self, void_reservations: bool) {
        if void_reservations || matches!(self.entry, Entry::Hot(_)) {
            self.entry = Entry::Empty;
        }
    }

    pub(super) fn learn(&mut self) {
        self.lease = None;
        self.trusted = false;
    }

    pub(super) fn take(&mut self, empty: bool) {
        self.lease = Some(self.next_lease);
        self.next_lease += 1;
        (self.trusted, self.disconnected) = (true, false);
        if empty {
            self.entry = Entry::Empty;
        }
    }

    pub(super) fn crash(&mut self) {
        self.learn();
        self.entry = Entry::Empty;
    }

    /// Draws a ticket for an operation, and reserves the entry for it.
    fn draw(&mut self, drops: bool) -> u8 {
        self.ticket += 1;
        if drops {
            self.entry = Entry::Pending(self.ticket);
        }
        self.ticket
    }

    /// Commits a copy, if the reservation still holds.
    fn commit(&mut self, operation: &Operation, version: u8, may_keep: bool) {
        let Some(mark) = operation.mark else { return };
        if may_keep && operation.kind.leaves_copy() && self.entry == Entry::Pending(mark.ticket) {
            self.entry = Entry::Hot(version);
        }
    }
}

pub(super) fn begin(model: &Handover, state: &mut State, c: usize, kind: Kind) {
    let known = state.known;
    let client = &mut state.clients[c];
    let instance = &mut state.instances[client.at];
    client.left -= 1;
    if kind == Kind::StickyRead {
        let good = instance.trusted || !model.has(Rule::ReadsCheckTheLease);
        match instance.entry {
            Entry::Hot(version) if !model.has(Rule::LeaseFirst) => {
                return client.stage = Stage::Found { known, version };
            }
            _ if good && instance.lease.is_some() => {
                return client.stage = Stage::Checked { known };
            }
            _ => {}
        }
    }
    client.stage = sent(model, instance, known, kind);
}

fn sent(model: &Handover, instance: &mut Instance, known: u8, kind: Kind) -> Stage {
    let mark = match kind {
        Kind::RoundRobinRead => None,
        _ => instance.lease.map(|lease| {
            let ticket = instance.draw(!kind.writes() || model.has(Rule::WritesDropTheirOwn));
            Mark { lease, ticket }
        }),
    };
    Stage::Sent { known, operation: Operation { kind, mark } }
}

pub(super) fn look_up(model: &Handover, state: &mut State, c: usize) -> Option<()> {
    let client = &mut state.clients[c];
    let instance = &mut state.instances[client.at];
    client.stage = match (client.stage, instance.entry) {
        (Stage::Checked { known }, Entry::Hot(version)) if model.has(Rule::LeaseFirst) => {
            Stage::Found { known, version }
        }
        (Stage::Checked { known }, _) => sent(model, instance, known, Kind::StickyRead),
        (Stage::Found { known, .. }, _) if !model.has(Rule::LeaseFirst) && !instance.trusted => {
            sent(model, instance, known, Kind::StickyRead)
        }
        (Stage::Found { known, version }, _) => {
            client.stage = Stage::Idle;
            state.show(version, known);
            return Some(());
        }
        _ => return None,
    };
    Some(())
}

pub(super) fn execute(model: &Handover, state: &mut State, c: usize) -> Option<()> {
    let client = &mut state.clients[c];
    let Stage::Sent { known, operation } = client.stage else { return None };
    let (version, may_keep) = state.redis.execute(&operation, model.has(Rule::TicketsOrderActs));
    if !model.has(Rule::CommitAfterDrops) {
        state.instances[client.at].commit(&operation, version, may_keep);
    }
    // The response lists the remaining drops, so that most operations need not read them.
    client.stage = if state.redis.drops.is_empty() {
        Stage::Settled { known, operation, version, may_keep }
    } else {
        Stage::Settling { known, operation, version, may_keep }
    };
    Some(())
}

pub(super) fn check(state: &mut State, c: usize) -> Option<()> {
    let Stage::Settling { known, operation, version, may_keep } = state.clients[c].stage else {
        return None;
    };
    state.clients[c].stage = Stage::Settled { known, operation, version, may_keep };
    Some(())
}

pub(super) fn respond(model: &Handover, state: &mut State, c: usize) -> Option<()> {
    let client = &mut state.clients[c];
    let Stage::Settled { known, operation, version, may_keep } = client.stage else { return None };
    client.stage = Stage::Idle;
    if model.has(Rule::CommitAfterDrops) {
        state.instances[client.at].commit(&operation, version, may_keep);
    }
    state.show(version, known);
    Some(())
}

/// The client gives up. Its operation may still reach Redis; the reply is discarded.
pub(super) fn give_up(state: &mut State, c: usize) {
    if let Stage::Sent { operation, .. } = state.clients[c].stage {
        state.late.push(operation);
    }
    state.clients[c].stage = Stage::Idle;
}
