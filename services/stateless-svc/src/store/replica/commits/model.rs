//! The rules of ADR 30 as a model whose every interleaving is explored: two changes of one user,
//! two reads, a replica that is arbitrarily late, commands that time out and are executed later,
//! and a Redis that loses what it has. Without any one of the rules, something stale is found.

use std::collections::HashSet;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The replica is read whatever it has replayed.
    Check,
    /// A user without a key changed nothing.
    AbsentIsUnknown,
    /// A change begins a key where there is none.
    RecordOfKnownAlone,
    /// A change leaves the text of an unknown position.
    RecordEndsUnknown,
    /// A position is kept whatever is there by then.
    LearnIfUnchanged,
    /// The position of a change is read before its commit.
    PositionAfterCommit,
    /// A change is acknowledged although it could not be recorded.
    WaitWithoutRecord,
    /// A change is acknowledged before it is recorded.
    RecordBeforeResponse,
}

const RULES: [Without; 8] = [
    Without::Check,
    Without::AbsentIsUnknown,
    Without::RecordOfKnownAlone,
    Without::RecordEndsUnknown,
    Without::LearnIfUnchanged,
    Without::PositionAfterCommit,
    Without::WaitWithoutRecord,
    Without::RecordBeforeResponse,
];

/// How many changes are committed.
type Position = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Absent,
    Unknown(u8),
    At(Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    Waiting,
    /// It has a position, but is not committed: only without the rule.
    Early(Position),
    /// Committed as such a change.
    Committed(Position),
    /// It has read the position, which is to be recorded.
    Positioned {
        own: Position,
        read: Position,
    },
    /// The command was sent, and timed out; it may be executed yet.
    TimedOut {
        own: Position,
        read: Position,
    },
    /// Acknowledged; a command that timed out, or came too late, may be executed yet.
    Over {
        late: Option<Position>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Read {
    Waiting,
    /// It knows that changes up to the first were acknowledged, and has seen the key.
    LookedUp(Position, Key),
    /// It reads the primary, whose position it has read.
    Learns(Key, Position),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    committed: Position,
    acknowledged: Position,
    replayed: Position,
    key: Key,
    changes: [Change; 2],
    reads: [Read; 3],
    next_text: u8,
    losses: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stale;

impl State {
    const START: Self = Self {
        committed: 0,
        acknowledged: 0,
        replayed: 0,
        key: Key::Absent,
        changes: [Change::Waiting; 2],
        reads: [Read::Waiting; 3],
        next_text: 0,
        losses: 1,
    };

    /// Every state that may follow.
    fn next(&self, without: Without) -> Result<Vec<Self>, Stale> {
        let mut all = Vec::new();
        if self.replayed < self.committed {
            all.push(Self { replayed: self.replayed + 1, ..self.clone() });
        }
        if self.losses > 0 {
            all.push(Self { key: Key::Absent, losses: self.losses - 1, ..self.clone() });
        }
        for number in 0..self.changes.len() {
            self.change(number, without, &mut all);
        }
        for number in 0..self.reads.len() {
            self.read(number, without, &mut all)?;
        }
        Ok(all)
    }

    fn change(&self, number: usize, without: Without, all: &mut Vec<Self>) {
        let mut then = |next: Change, change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            change(&mut state);
            state.changes[number] = next;
            all.push(state);
        };
        let next = self.committed + 1;
        let commit = |state: &mut Self| state.committed = next;
        match self.changes[number] {
            Change::Waiting if without == Without::PositionAfterCommit => {
                then(Change::Early(self.committed), &|_| {});
            }
            Change::Waiting => then(Change::Committed(next), &commit),
            Change::Early(read) => then(Change::Positioned { own: next, read }, &commit),
            Change::Committed(own) => {
                then(Change::Positioned { own, read: self.committed }, &|_| {});
            }
            Change::Positioned { own, read } => {
                if without == Without::RecordBeforeResponse {
                    let late = Some(read);
                    then(Change::Over { late }, &|state| state.acknowledge(own));
                    return;
                }
                then(Change::Over { late: None }, &|state| {
                    state.record(read, without);
                    state.acknowledge(own);
                });
                then(Change::TimedOut { own, read }, &|_| {});
            }
            // Replayed, or past the maximum lag: either way, no read uses an earlier state.
            Change::TimedOut { own, read }
                if self.replayed >= own || without == Without::WaitWithoutRecord =>
            {
                then(Change::Over { late: Some(read) }, &|state| state.acknowledge(own));
            }
            Change::Over { late: Some(read) } => {
                then(Change::Over { late: None }, &|state| state.record(read, without));
            }
            Change::TimedOut { .. } | Change::Over { late: None } => {}
        }
    }

    fn acknowledge(&mut self, own: Position) {
        self.acknowledged = self.acknowledged.max(own);
    }

    fn record(&mut self, read: Position, without: Without) {
        self.key = match self.key {
            Key::Absent if without == Without::RecordOfKnownAlone => Key::At(read),
            Key::Absent => Key::Absent,
            Key::Unknown(text) if without == Without::RecordEndsUnknown => Key::Unknown(text),
            Key::Unknown(_) => Key::Absent,
            Key::At(known) => Key::At(known.max(read)),
        };
    }

    fn read(&self, number: usize, without: Without, all: &mut Vec<Self>) -> Result<(), Stale> {
        let mut state = self.clone();
        state.reads[number] = match self.reads[number] {
            Read::Waiting => {
                if state.key == Key::Absent && without != Without::AbsentIsUnknown {
                    state.key = Key::Unknown(state.next_text);
                    state.next_text += 1;
                }
                Read::LookedUp(self.acknowledged, state.key)
            }
            Read::LookedUp(acknowledged, seen) => {
                let least = match seen {
                    Key::At(least) => Some(least),
                    Key::Absent => Some(0),
                    Key::Unknown(_) => None,
                };
                match least {
                    Some(least) if self.replayed >= least || without == Without::Check => {
                        if self.replayed < acknowledged {
                            return Err(Stale);
                        }
                        Read::Over
                    }
                    // It has not replayed that: the primary, and nothing is learnt.
                    Some(_) => Read::Over,
                    None => Read::Learns(seen, self.committed),
                }
            }
            Read::Learns(seen, position) => {
                let is_unchanged = self.key == seen;
                if is_unchanged || without == Without::LearnIfUnchanged {
                    state.key = Key::At(position);
                }
                Read::Over
            }
            Read::Over => return Ok(()),
        };
        all.push(state);
        Ok(())
    }
}

/// Explores every state; returns how many there are.
fn explore(without: Without) -> Result<usize, Stale> {
    let mut seen = HashSet::from([State::START]);
    let mut open = vec![State::START];
    while let Some(state) = open.pop() {
        for next in state.next(without)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn nothing_stale_is_read_while_all_rules_hold() {
    let states = explore(Without::Nothing).expect("nothing stale");
    assert!(states > 10_000, "{states}");
}

#[test]
fn without_any_one_rule_something_stale_is_read() {
    for rule in RULES {
        assert_eq!(explore(rule), Err(Stale), "{rule:?}");
    }
}
