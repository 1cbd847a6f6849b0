//! The rules of ADR 28 as a model whose every interleaving is explored: two writes, two fills that
//! may be paused anywhere, a request that joins a fill, and a Redis that loses what it has. Without
//! any one of the rules, something stale is found.

use std::collections::HashSet;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A fill is stored whatever the generation is by then.
    GenerationCheck,
    /// A fill does not try the lock.
    Lock,
    /// A fill reads in a snapshot from before its lock.
    LaterSnapshot,
    /// A write ends the generation after its commit, or never if it dies.
    MarkBeforeCommit,
    /// Generations are counted, and the count begins again when Redis loses it.
    RandomGenerations,
    /// A fill during a write is shared with whoever waits for the same generation.
    OwnUseOfUnsettled,
}

const RULES: [Without; 6] = [
    Without::GenerationCheck,
    Without::Lock,
    Without::LaterSnapshot,
    Without::MarkBeforeCommit,
    Without::RandomGenerations,
    Without::OwnUseOfUnsettled,
];

type Generation = u8;
/// How many writes are committed.
type Version = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Waiting,
    Locked,
    Marked,
    /// Committed, and the mark is due: only without the rule.
    Unmarked,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fill {
    Waiting,
    LookedUp(Generation),
    /// It has read, and tries the lock only now: only without the rule.
    Unlocked(Generation, Version),
    Read {
        generation: Generation,
        version: Version,
        is_settled: bool,
    },
    Over,
}

/// A request that looks up the generation and joins a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Joiner {
    Waiting,
    /// It joined this fill, when so many writes were acknowledged.
    Joined(usize, Version),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    committed: Version,
    writes: [Write; 2],
    fills: [Fill; 2],
    joiner: Joiner,
    generation: Option<Generation>,
    /// A document of a generation, as of a version.
    document: Option<(Generation, Version)>,
    next_generation: Generation,
    /// How often Redis may still lose something.
    losses: u8,
}

/// What a client or the cache must never show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stale;

impl State {
    const START: Self = Self {
        committed: 0,
        writes: [Write::Waiting; 2],
        fills: [Fill::Waiting; 2],
        joiner: Joiner::Waiting,
        generation: None,
        document: None,
        next_generation: 0,
        losses: 2,
    };

    fn check(&self) -> Result<(), Stale> {
        match (self.generation, self.document) {
            (Some(current), Some((generation, version)))
                if current == generation && version != self.committed =>
            {
                Err(Stale)
            }
            _ => Ok(()),
        }
    }

    fn is_locked(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Locked | Write::Marked))
    }

    /// The document stays, as pages do.
    fn mark(&mut self) {
        self.generation = None;
    }

    fn look_up(&mut self) -> Generation {
        *self.generation.get_or_insert_with(|| {
            self.next_generation += 1;
            self.next_generation
        })
    }

    /// Every state that may follow.
    fn next(&self, without: Without) -> Result<Vec<Self>, Stale> {
        let mut all = Vec::new();
        for number in 0..self.writes.len() {
            self.write(number, without, &mut all);
        }
        for number in 0..self.fills.len() {
            self.fill(number, without, &mut all);
        }
        self.join(without, &mut all)?;
        if self.losses > 0 {
            let losses = self.losses - 1;
            let next_generation =
                if without == Without::RandomGenerations { 0 } else { self.next_generation };
            // A restart, and evictions.
            let (generation, document) = (None, None);
            all.push(Self { generation, document, next_generation, losses, ..self.clone() });
            all.push(Self { generation, losses, ..self.clone() });
            all.push(Self { document, losses, ..self.clone() });
        }
        Ok(all)
    }

    fn write(&self, number: usize, without: Without, all: &mut Vec<Self>) {
        let mut then = |next: Write, change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            state.writes[number] = next;
            change(&mut state);
            all.push(state);
        };
        let is_late = without == Without::MarkBeforeCommit;
        match self.writes[number] {
            Write::Waiting if !self.is_locked() => then(Write::Locked, &|_| {}),
            Write::Locked if is_late => then(Write::Unmarked, &|state| state.committed += 1),
            Write::Locked => {
                then(Write::Marked, &Self::mark);
                then(Write::Over, &|_| {});
            }
            Write::Marked => {
                then(Write::Over, &|state| state.committed += 1);
                // It dies, or PostgreSQL ends its transaction.
                then(Write::Over, &|_| {});
            }
            Write::Unmarked => then(Write::Over, &Self::mark),
            Write::Waiting | Write::Over => {}
        }
    }

    fn fill(&self, number: usize, without: Without, all: &mut Vec<Self>) {
        let mut state = self.clone();
        let version = self.committed;
        let is_settled = !self.is_locked() || without == Without::Lock;
        state.fills[number] = match self.fills[number] {
            Fill::Waiting => {
                let generation = state.look_up();
                // A hit, which `check` covers.
                match state.document {
                    Some((found, _)) if found == generation => Fill::Over,
                    _ => Fill::LookedUp(generation),
                }
            }
            Fill::LookedUp(generation) if without == Without::LaterSnapshot => {
                Fill::Unlocked(generation, version)
            }
            Fill::LookedUp(generation) => Fill::Read { generation, version, is_settled },
            Fill::Unlocked(generation, version) => Fill::Read { generation, version, is_settled },
            Fill::Read { generation, version, is_settled } => {
                let is_current = self.generation == Some(generation);
                if is_settled && is_current {
                    state.document = Some((generation, version));
                } else if is_settled && without == Without::GenerationCheck {
                    state.document = self.generation.map(|current| (current, version));
                }
                Fill::Over
            }
            Fill::Over => return,
        };
        all.push(state);
    }

    fn join(&self, without: Without, all: &mut Vec<Self>) -> Result<(), Stale> {
        match self.joiner {
            Joiner::Waiting => {
                let mut looked_up = self.clone();
                let own = looked_up.look_up();
                for (number, fill) in self.fills.iter().enumerate() {
                    let joins = match fill {
                        Fill::LookedUp(generation)
                        | Fill::Unlocked(generation, _)
                        | Fill::Read { generation, .. } => *generation == own,
                        Fill::Waiting | Fill::Over => false,
                    };
                    if joins {
                        let joiner = Joiner::Joined(number, self.committed);
                        all.push(Self { joiner, ..looked_up.clone() });
                    }
                }
            }
            Joiner::Joined(number, acknowledged) => {
                if let Fill::Read { version, is_settled, .. } = self.fills[number] {
                    let is_shared = is_settled || without == Without::OwnUseOfUnsettled;
                    if is_shared && version < acknowledged {
                        return Err(Stale);
                    }
                    all.push(Self { joiner: Joiner::Over, ..self.clone() });
                }
            }
            Joiner::Over => {}
        }
        Ok(())
    }
}

/// Explores every state; returns how many there are.
fn explore(without: Without) -> Result<usize, Stale> {
    let mut seen = HashSet::from([State::START]);
    let mut open = vec![State::START];
    while let Some(state) = open.pop() {
        state.check()?;
        for next in state.next(without)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn nothing_stale_is_found_while_all_rules_hold() {
    let states = explore(Without::Nothing).expect("nothing stale");
    assert!(states > 10_000, "{states}");
}

#[test]
fn without_any_one_rule_something_stale_is_found() {
    for rule in RULES {
        assert_eq!(explore(rule), Err(Stale), "{rule:?}");
    }
}
