//! What an instance keeps, and what it does with a request.

use super::fault::Rule;
use super::redis::{Act, Mark};
use super::{Handover, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    StickyRead,
    StickyWrite,
    RoundRobinRead,
    RoundRobinWrite,
    /// A write that was done before, under its key, or that is refused: it changes nothing and leaves no copy.
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

    fn fills(self) -> bool {
        !matches!(self, Self::StickyRepeat | Self::RoundRobinRepeat)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    /// The lease that it holds or has held of late.
    pub(super) lease: Option<u8>,
    /// The next lease's number; leases of different instances differ.
    next_lease: u8,
    /// By its own clock, its lease has not run out.
    pub(super) trusted: bool,
    /// Its channel of drop requests is broken.
    pub(super) deaf: bool,
    /// The ticket drawn last.
    pub(super) ticket: u8,
    pub(super) slot: Slot,
}

/// A client, which asks one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// The instance that it asks.
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

/// What it has of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Empty,
    /// The act of this ticket is under way and may fill it.
    Filling(u8),
    Hot(u8),
}

/// Where a client is with its request. `known` is what was known when it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Idle,
    /// The lease was good; the copy is looked for next.
    Checked {
        known: u8,
    },
    /// The copy was looked up first (only where [`Rule::LeaseFirst`] is out), or is about to be shown.
    Found {
        known: u8,
        version: u8,
    },
    Sent {
        known: u8,
        act: Act,
    },
    /// Redis has answered; drops may be left.
    Settling {
        known: u8,
        act: Act,
        version: u8,
        may_keep: bool,
    },
    Settled {
        known: u8,
        act: Act,
        version: u8,
        may_keep: bool,
    },
}

impl Instance {
    pub(super) fn new(place: usize) -> Self {
        let first = place as u8 * 8;
        Self { lease: Some(first), next_lease: first + 1, trusted: true, deaf: false, ticket: 0, slot: Slot::Empty }
    }

    pub(super) fn drop_copy(&mut self, void_fills: bool) {
        if void_fills || matches!(self.slot, Slot::Hot(_)) {
            self.slot = Slot::Empty;
        }
    }

    pub(super) fn learn(&mut self) {
        self.lease = None;
        self.trusted = false;
    }

    pub(super) fn take(&mut self, empty: bool) {
        self.lease = Some(self.next_lease);
        self.next_lease += 1;
        (self.trusted, self.deaf) = (true, false);
        if empty {
            self.slot = Slot::Empty;
        }
    }

    pub(super) fn crash(&mut self) {
        self.learn();
        self.slot = Slot::Empty;
    }

    /// A ticket for an act, which drops what the instance has and voids what it fills.
    fn draw(&mut self, drops: bool) -> u8 {
        self.ticket += 1;
        if drops {
            self.slot = Slot::Filling(self.ticket);
        }
        self.ticket
    }

    /// Puts a copy in, if the act is still the one that may.
    fn keep(&mut self, act: &Act, version: u8, may_keep: bool) {
        let Some(mark) = act.mark else { return };
        if may_keep && act.kind.fills() && self.slot == Slot::Filling(mark.ticket) {
            self.slot = Slot::Hot(version);
        }
    }
}

pub(super) fn begin(model: &Handover, state: &mut State, c: usize, kind: Kind) {
    let known = state.known;
    let client = &mut state.clients[c];
    let instance = &mut state.instances[client.at];
    client.left -= 1;
    if kind == Kind::StickyRead {
        let good = instance.trusted || !model.has(Rule::ReadsLookAtTheLease);
        match instance.slot {
            Slot::Hot(version) if !model.has(Rule::LeaseFirst) => {
                return client.stage = Stage::Found { known, version };
            }
            _ if good && instance.lease.is_some() => return client.stage = Stage::Checked { known },
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
    Stage::Sent { known, act: Act { kind, mark } }
}

pub(super) fn look_up(model: &Handover, state: &mut State, c: usize) -> Option<()> {
    let client = &mut state.clients[c];
    let instance = &mut state.instances[client.at];
    client.stage = match (client.stage, instance.slot) {
        (Stage::Checked { known }, Slot::Hot(version)) if model.has(Rule::LeaseFirst) => {
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
    let Stage::Sent { known, act } = client.stage else { return None };
    let (version, may_keep) = state.redis.execute(&act, model.has(Rule::TicketsOrderActs));
    if !model.has(Rule::FillAfterDrops) {
        state.instances[client.at].keep(&act, version, may_keep);
    }
    // The answer tells the drops that are left, so that most acts need not ask.
    client.stage = if state.redis.drops.is_empty() {
        Stage::Settled { known, act, version, may_keep }
    } else {
        Stage::Settling { known, act, version, may_keep }
    };
    Some(())
}

pub(super) fn check(state: &mut State, c: usize) -> Option<()> {
    let Stage::Settling { known, act, version, may_keep } = state.clients[c].stage else { return None };
    state.clients[c].stage = Stage::Settled { known, act, version, may_keep };
    Some(())
}

pub(super) fn answer(model: &Handover, state: &mut State, c: usize) -> Option<()> {
    let client = &mut state.clients[c];
    let Stage::Settled { known, act, version, may_keep } = client.stage else { return None };
    client.stage = Stage::Idle;
    if model.has(Rule::FillAfterDrops) {
        state.instances[client.at].keep(&act, version, may_keep);
    }
    state.show(version, known);
    Some(())
}

/// The client goes away. Its act may be on the way to Redis still; whatever comes back is not looked at.
pub(super) fn give_up(state: &mut State, c: usize) {
    if let Stage::Sent { act, .. } = state.clients[c].stage {
        state.late.push(act);
    }
    state.clients[c].stage = Stage::Idle;
}
