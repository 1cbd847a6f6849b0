//! Simulated runs of a linearizable service. Each act takes effect at one moment between its begin
//! and its end. If its outcome is unknown, it takes effect at any later moment, or never. The
//! checker finds no violation in such runs, and finds one when a response is replaced by an older
//! state.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{SETTLED, act, breaches_in, message};
use crate::chaos::checker::Breach;
use crate::chaos::ledger::{
    Act, ClientNumber, Entry, Message, Origin, Outcome, Patches, Repetition, Seen, Trust, View,
};

const CLIENTS: ClientNumber = 4;

/// An act that is about to take effect.
struct Pending {
    client: ClientNumber,
    begin: u64,
    effect: Option<u64>,
    end: u64,
    act: Act,
    known: bool,
}

/// The simulated service.
#[derive(Clone)]
struct Session {
    version: u64,
    messages: Vec<Message>,
    patches: Patches,
    deleted: bool,
}

impl Session {
    fn apply(&mut self, client: ClientNumber, act: Act) -> Outcome {
        if self.deleted {
            return Outcome::Absent;
        }
        match act {
            Act::Create => {}
            Act::Append(message) => {
                self.messages.push(message);
                self.version += 1;
            }
            Act::Patch(sequence) => {
                self.patches.insert(client, sequence);
                self.version += 1;
            }
            Act::Read | Act::History | Act::Repeat(_) => {}
            Act::Delete => self.deleted = true,
        }
        let view = match act {
            Act::Append(_) => {
                View::Posted { version: self.version, number: self.messages.len() as u64 }
            }
            Act::History => View::History(self.messages.clone()),
            Act::Delete => View::Deleted,
            Act::Repeat(_) => View::Repeated(Repetition::Same),
            Act::Create | Act::Patch(_) | Act::Read => View::Session {
                version: self.version,
                messages: self.messages.len() as u64,
                patches: self.patches.clone(),
            },
        };
        Outcome::Done(Seen { view, trust: Trust::Verified, origin: Origin::Own })
    }
}

/// The acts of all clients.
fn pending(random: &mut StdRng) -> Vec<Pending> {
    // When deletes begin: late in most runs, or never.
    let deletable = random.random_range(0..2 * SETTLED);
    let mut pending = Vec::new();
    for client in 0..CLIENTS {
        let mut now = 10 + random.random_range(0..20);
        let mut sequence = 0;
        while now < SETTLED - 200 {
            sequence += 1;
            let act = match random.random_range(0..100) {
                0..40 => Act::Append(message(client, sequence)),
                40..55 => Act::Patch(sequence),
                55..75 => Act::Read,
                75..95 => Act::History,
                _ if now > deletable => Act::Delete,
                _ => Act::Read,
            };
            let known = random.random_range(0..10) > 0;
            let (begin, end) = (now, now + random.random_range(1..40));
            let effect = match known {
                true => Some(random.random_range(begin..=end)),
                false => {
                    (random.random_range(0..2) == 0).then(|| begin + random.random_range(0..150))
                }
            };
            pending.push(Pending { client, begin, effect, end, act, known });
            now = end + random.random_range(0..10);
        }
    }
    pending
}

/// A run of the simulated service.
fn run(seed: u64) -> Vec<Entry> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut session =
        Session { version: 1, messages: Vec::new(), patches: Patches::new(), deleted: false };
    let mut entries = vec![act(0, 0..5, Act::Create, session.apply(0, Act::Create))];
    let mut pending = pending(&mut random);
    pending.sort_by_key(|pending| pending.effect.unwrap_or(u64::MAX));
    for Pending { client, begin, effect, end, act: what, known } in pending {
        let outcome = effect
            .map(|_| session.apply(client, what))
            .filter(|_| known)
            .unwrap_or(Outcome::Unknown);
        entries.push(act(client, begin..end, what, outcome));
    }
    for what in [Act::Read, Act::History] {
        entries.push(act(90, SETTLED..SETTLED + 10, what, session.apply(90, what)));
    }
    entries
}

#[test]
fn a_linearizable_service_has_no_violation() {
    for seed in 0..300 {
        assert_eq!(breaches_in(&[], run(seed)), [], "seed {seed}");
    }
}

#[test]
fn a_response_with_an_older_state_is_always_found() {
    let mut tried = 0;
    for seed in 0..300 {
        let mut entries = run(seed);
        let known = |entry: &Entry, before: &Entry| match &entry.outcome {
            Outcome::Done(Seen { view: View::Posted { version, .. }, .. })
                if entry.time.end < before.time.begin =>
            {
                Some(*version)
            }
            _ => None,
        };
        let reads = (0..entries.len()).filter(|&place| entries[place].act == Act::Read);
        let newest =
            |place: usize| entries.iter().filter_map(|entry| known(entry, &entries[place])).max();
        let Some((place, newest)) =
            reads.filter_map(|place| Some((place, newest(place)?))).next_back()
        else {
            continue;
        };
        let Outcome::Done(Seen { view: View::Session { version, .. }, .. }) =
            &mut entries[place].outcome
        else {
            continue;
        };
        *version = newest - 1;
        tried += 1;
        let found = breaches_in(&[], entries);
        assert!(
            found.iter().any(|(breach, _)| *breach == Breach::StaleRead),
            "seed {seed}: {found:?}"
        );
    }
    assert!(tried > 100, "{tried} runs had a read after a write");
}
