//! Simulated runs of a linearizable service. Each act takes effect at one moment between its begin
//! and its end. If its outcome is unknown, it takes effect at any later moment, or never. The
//! checker finds no violation in such runs, and finds one when a response is replaced by an older
//! state.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::claims::{ADA, BOB, claim_response};
use super::{SETTLED, act, breaches_in, message};
use crate::chaos::checker::Breach;
use crate::chaos::ledger::{
    Act, ClientNumber, Entry, IdUsed, Message, Origin, Outcome, Patches, Repetition, Seen, Trust,
    UserNumber, View,
};

const CLIENTS: ClientNumber = 4;

/// An act that is about to take effect.
struct Pending {
    client: ClientNumber,
    id: IdUsed,
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
    /// Who claimed it.
    owner: Option<UserNumber>,
}

impl Session {
    fn apply(&mut self, client: ClientNumber, id: IdUsed, act: Act) -> Outcome {
        if let Act::Claim(user) = act {
            return self.claim(user);
        }
        if self.deleted || (id == IdUsed::Original && self.owner.is_some()) {
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
            Act::Read | Act::History | Act::Repeat(_) | Act::Claim(_) => {}
            Act::Delete => self.deleted = true,
        }
        let view = match act {
            Act::Append(_) => {
                View::Posted { version: self.version, number: self.messages.len() as u64 }
            }
            Act::History => View::History(self.messages.clone()),
            Act::Delete => View::Deleted,
            Act::Repeat(_) => View::Repeated(Repetition::Same),
            Act::Create | Act::Patch(_) | Act::Read | Act::Claim(_) => View::Session {
                version: self.version,
                messages: self.messages.len() as u64,
                patches: self.patches.clone(),
            },
        };
        Outcome::Done(Seen { view, trust: Trust::Verified, origin: Origin::Own })
    }

    /// A repetition finds the new id even when that was deleted since.
    fn claim(&mut self, user: UserNumber) -> Outcome {
        if self.owner.is_none() && !self.deleted {
            self.owner = Some(user);
            self.version += 1;
        }
        if self.owner == Some(user) { claim_response(user) } else { Outcome::Absent }
    }
}

/// Two users' claims, both of them in some runs. The first may have an unknown outcome, and is then
/// repeated before the final reads.
fn claims(random: &mut StdRng) -> Vec<Pending> {
    let mut claims = Vec::new();
    let mut add = |user, begin, end, effect, known| {
        let (id, act) = (IdUsed::Original, Act::Claim(user));
        claims.push(Pending { client: user, id, begin, effect, end, act, known });
    };
    let begin = random.random_range(20..SETTLED - 300);
    let end = begin + random.random_range(1..40);
    match random.random_range(0..10) {
        0..4 => add(ADA, begin, end, Some(random.random_range(begin..=end)), true),
        4..8 => {
            let effect =
                (random.random_range(0..2) == 0).then(|| begin + random.random_range(0..150));
            add(ADA, begin, end, effect, false);
            let [again, effect, end] = [40, 30, 20].map(|before| SETTLED - before);
            add(ADA, again, end, Some(effect), true);
        }
        _ => return claims,
    }
    if random.random_range(0..3) == 0 {
        let end = begin + random.random_range(1..40);
        add(BOB, begin, end, Some(random.random_range(begin..=end)), true);
    }
    claims
}

/// The acts of all clients.
fn pending(random: &mut StdRng) -> Vec<Pending> {
    // When deletes begin: late in most runs, or never.
    let deletable = random.random_range(0..2 * SETTLED);
    let mut pending = claims(random);
    // From then on a client may know the new id.
    let claimed = pending.iter().filter(|claim| claim.known).map(|claim| claim.end).min();
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
            let knows = claimed.is_some_and(|claimed| claimed < begin);
            let id = match knows && random.random_range(0..10) < 7 {
                true => IdUsed::Claimed,
                false => IdUsed::Original,
            };
            let effect = match known {
                true => Some(random.random_range(begin..=end)),
                false => {
                    (random.random_range(0..2) == 0).then(|| begin + random.random_range(0..150))
                }
            };
            pending.push(Pending { client, id, begin, effect, end, act, known });
            now = end + random.random_range(0..10);
        }
    }
    pending
}

/// A run of the simulated service.
fn run(seed: u64) -> Vec<Entry> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut session = Session {
        version: 1,
        messages: Vec::new(),
        patches: Patches::new(),
        deleted: false,
        owner: None,
    };
    let created = session.apply(0, IdUsed::Original, Act::Create);
    let mut entries = vec![act(0, 0..5, Act::Create, created)];
    let mut pending = pending(&mut random);
    pending.sort_by_key(|pending| pending.effect.unwrap_or(u64::MAX));
    for Pending { client, id, begin, effect, end, act: what, known } in pending {
        // The session was deleted before its claim, so there is no such id.
        if id == IdUsed::Claimed && session.owner.is_none() {
            continue;
        }
        let outcome = effect
            .map(|_| session.apply(client, id, what))
            .filter(|_| known)
            .unwrap_or(Outcome::Unknown);
        entries.push(Entry { id, ..act(client, begin..end, what, outcome) });
    }
    let has_claimed_id = entries.iter().any(|entry| {
        matches!(entry.act, Act::Claim(_)) && matches!(entry.outcome, Outcome::Done(_))
    });
    let claimed = has_claimed_id.then_some(IdUsed::Claimed);
    for id in [IdUsed::Original].into_iter().chain(claimed) {
        for what in [Act::Read, Act::History] {
            let outcome = session.apply(90, id, what);
            entries.push(Entry { id, ..act(90, SETTLED..SETTLED + 10, what, outcome) });
        }
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

#[test]
fn an_old_id_that_is_served_after_an_acknowledged_claim_is_always_found() {
    let mut tried = 0;
    for seed in 0..300 {
        let mut entries = run(seed);
        let claimed = entries
            .iter()
            .filter(|entry| {
                matches!(entry.outcome, Outcome::Done(Seen { view: View::Claimed { .. }, .. }))
            })
            .map(|entry| entry.time.end)
            .min();
        let Some(claimed) = claimed else { continue };
        let Some(old) = entries.iter_mut().rev().find(|entry| {
            entry.act == Act::Read && entry.id == IdUsed::Original && entry.time.begin > claimed
        }) else {
            continue;
        };
        old.outcome = super::view(1, 0, &[]);
        tried += 1;
        let found = breaches_in(&[], entries);
        assert!(
            found
                .iter()
                .any(|(breach, _)| { matches!(breach, Breach::OldIdServed | Breach::TwoLiveIds) }),
            "seed {seed}: {found:?}"
        );
    }
    assert!(tried > 100, "{tried} runs had a claim");
}
