//! Handwritten ledgers with claims.

use std::ops::Range;

use proto_contracts::{AffinityKey, SessionDigest, SessionId};

use super::{
    ABSENT, REFUSED, SETTLED, UNKNOWN, act, append, breaches, breaches_in, created, deleted, done,
    finds, gone, history, is_clean, last, posted, read,
};
use crate::chaos::checker::{Breach, Facts, check};
use crate::chaos::ledger::{Act, Entry, IdUsed, Moment, NewId, Outcome, UserNumber, View};

pub(super) const ADA: UserNumber = 1;
pub(super) const BOB: UserNumber = 2;

/// The response to this user's claim.
pub(super) fn claim_response(user: UserNumber) -> Outcome {
    new_id(u8::try_from(user).expect("a small number"))
}

fn digest(secret: u8) -> SessionDigest {
    SessionId::from_parts(AffinityKey::from_bits(7), [secret; 16]).digest()
}

fn claim(user: UserNumber, time: Range<u64>, outcome: Outcome) -> Entry {
    act(user, time, Act::Claim(user), outcome)
}

fn new_id(secret: u8) -> Outcome {
    done(View::Claimed { new: digest(secret), kind: NewId::SameAffinityKey })
}

fn claimed(time: Range<u64>) -> Entry {
    claim(ADA, time, new_id(1))
}

/// The same by the new id.
fn by_new(entry: Entry) -> Entry {
    Entry { id: IdUsed::Claimed, ..entry }
}

/// The final reads: the old id is gone, the new one has these messages. The claim made a version.
fn moved(messages: &[(u32, u32)]) -> Vec<Entry> {
    let count = messages.len() as u64;
    let reads = [read(90, SETTLED..1010, count + 2, count), history(90, 1010..1020, messages)];
    reads.map(by_new).into_iter().chain(gone()).collect()
}

#[test]
fn a_claimed_session_goes_on_under_its_new_id_alone() {
    let after = append(2, 1, 60..70, done(View::Posted { version: 4, number: 2 }));
    let story = [
        posted(1, 1, 20..30, 1),
        claimed(40..50),
        by_new(read(2, 55..58, 3, 1)),
        by_new(after),
        // Whoever knows the old id alone finds nothing.
        act(3, 60..70, Act::Read, ABSENT),
        append(3, 1, 60..70, ABSENT),
        act(3, 60..70, Act::Delete, ABSENT),
        claim(BOB, 60..70, ABSENT),
        claim(ADA, 80..90, new_id(1)),
    ];
    is_clean(story, moved(&[(1, 1), (2, 1)]));
}

#[test]
fn acts_that_overlap_the_claim_may_find_either() {
    let story = [
        claimed(40..90),
        act(2, 45..80, Act::Read, ABSENT),
        read(3, 41..60, 1, 0),
        append(3, 1, 70..85, ABSENT),
        claim(BOB, 50..95, ABSENT),
    ];
    is_clean(story.clone(), moved(&[]));
    // It found no session when the service repeated it after its result had been lost.
    let moved = [
        by_new(read(90, SETTLED..1010, 3, 1)),
        by_new(history(90, 1010..1020, &[(3, 1)])),
        act(90, SETTLED..1010, Act::Read, ABSENT),
    ];
    is_clean(story, moved);
}

#[test]
fn a_claim_of_unknown_outcome_may_leave_the_old_id_or_the_new_one() {
    let unknown = || claim(ADA, 20..30, UNKNOWN);
    is_clean([unknown(), read(2, 40..50, 1, 0)], last(&[]));
    is_clean([unknown(), act(2, 40..50, Act::Read, ABSENT), claimed(900..950)], moved(&[]));
    is_clean([claim(ADA, 20..30, REFUSED)], last(&[]));
    // Another user's claim was executed first.
    let bobs = claim(BOB, 25..35, new_id(2));
    is_clean([unknown(), bobs, claim(ADA, 900..950, ABSENT)], moved(&[]));
}

#[test]
fn two_live_ids_are_found() {
    let both = || moved(&[]).into_iter().take(2).chain(last(&[]));
    finds(Breach::TwoLiveIds, [claimed(20..30)], both());
    // An earlier attempt of unknown outcome is no excuse.
    finds(Breach::TwoLiveIds, [claim(ADA, 20..30, UNKNOWN), claimed(900..950)], both());
}

#[test]
fn a_session_that_no_id_opens_is_lost() {
    let gone_by_both = || [gone(), gone().map(by_new)].into_iter().flatten();
    finds(Breach::Lost, [claimed(20..30)], gone_by_both());
    let found = breaches([posted(1, 1, 20..30, 1), claimed(40..50)], gone_by_both());
    assert_eq!(found, [(Breach::Lost, 2)], "the session and its message");
    // A delete by the old id cannot have deleted the claimed session.
    finds(Breach::Lost, [act(2, 15..90, Act::Delete, UNKNOWN), claimed(20..30)], gone_by_both());
    is_clean([claimed(20..30), by_new(deleted(2, 40..50))], gone_by_both());

    let unknown = claim(ADA, 20..30, UNKNOWN);
    let again = |outcome| claim(ADA, 900..950, outcome);
    finds(Breach::Lost, [unknown.clone(), again(ABSENT)], gone());
    finds(Breach::Unreadable, [unknown.clone(), again(UNKNOWN)], gone());
    is_clean([unknown, act(2, 40..50, Act::Delete, UNKNOWN), again(ABSENT)], gone());
}

#[test]
fn a_message_from_before_the_claim_must_be_there_once_and_after_it() {
    let story = || [posted(1, 1, 20..30, 1), claimed(40..50)];
    let without = [
        by_new(read(90, SETTLED..1010, 3, 1)),
        by_new(history(90, 1010..1020, &[])),
        act(90, SETTLED..1010, Act::Read, ABSENT),
    ];
    finds(Breach::Lost, story(), without);
    let twice = [
        by_new(read(90, SETTLED..1010, 3, 1)),
        by_new(history(90, 1010..1020, &[(1, 1), (1, 1)])),
        act(90, SETTLED..1010, Act::Read, ABSENT),
    ];
    finds(Breach::Duplicated, story(), twice);
    let after = by_new(append(2, 1, 60..70, done(View::Posted { version: 3, number: 1 })));
    let found = breaches(story().into_iter().chain([after]), moved(&[(2, 1)]));
    assert!(found.contains(&(Breach::Lost, 1)), "{found:?}");
}

#[test]
fn a_claim_makes_one_version() {
    let repeated = [claimed(20..30), claimed(40..50), by_new(read(1, 60..70, 3, 0))];
    let found = breaches(repeated, moved(&[]));
    assert!(found.contains(&(Breach::Duplicated, 1)), "{found:?}");
}

#[test]
fn an_old_id_that_is_served_after_its_claim_is_found() {
    for old in [
        read(2, 40..50, 1, 0),
        history(2, 40..50, &[]),
        deleted(2, 40..50),
        act(2, 40..50, Act::Patch(1), super::view(2, 0, &[])),
    ] {
        let found = breaches([claimed(20..30), old.clone()], moved(&[]));
        assert!(found.contains(&(Breach::OldIdServed, 1)), "{old:?}: {found:?}");
    }
    // It was seen to be gone, although no claim was acknowledged yet.
    let story = [
        claim(ADA, 20..30, UNKNOWN),
        act(2, 40..50, Act::Read, ABSENT),
        read(3, 60..70, 1, 0),
        claimed(900..950),
    ];
    finds(Breach::OldIdServed, story, moved(&[]));
    // It lives at the end, and the new one was deleted.
    let ended = last(&[]).into_iter().chain(gone().map(by_new));
    finds(Breach::OldIdServed, [claimed(20..30), by_new(deleted(2, 40..50))], ended);
}

#[test]
fn the_new_id_is_another_with_the_same_affinity_key_and_one_only() {
    for kind in [NewId::OtherAffinityKey, NewId::Unchanged] {
        let wrong = claim(ADA, 20..30, done(View::Claimed { new: digest(1), kind }));
        finds(Breach::WrongNewId, [wrong], moved(&[]));
    }
    let second = [claimed(20..30), claim(ADA, 40..50, new_id(2))];
    finds(Breach::WrongNewId, second, moved(&[]));
    let anothers = [claimed(20..60), claim(BOB, 20..60, new_id(2))];
    finds(Breach::WrongNewId, anothers, moved(&[]));
}

#[test]
fn a_deleted_session_is_not_claimed() {
    let found = breaches([deleted(1, 20..30), claimed(40..50)], moved(&[]));
    assert!(found.contains(&(Breach::Resurrected, 1)), "{found:?}");
    let found_gone =
        [act(1, 20..30, Act::Delete, UNKNOWN), act(2, 40..50, Act::Read, ABSENT), claimed(60..70)];
    let found = breaches(found_gone, moved(&[]));
    assert!(found.contains(&(Breach::Resurrected, 1)), "{found:?}");
    is_clean([act(1, 20..30, Act::Delete, UNKNOWN), claimed(40..50)], moved(&[]));
}

#[test]
fn a_claimed_id_that_vanishes_for_a_while_is_stale() {
    let story = [claimed(20..30), by_new(act(2, 40..50, Act::Read, ABSENT))];
    finds(Breach::StaleRead, story, moved(&[]));
    let deleted_old = act(1, 15..18, Act::Delete, UNKNOWN);
    let story = [deleted_old, claimed(20..30), by_new(act(2, 40..50, Act::Read, ABSENT))];
    finds(Breach::StaleRead, story, moved(&[]));
}

#[test]
fn a_claimed_session_that_is_not_read_by_both_ids_at_the_end_is_unreadable() {
    finds(Breach::Unreadable, [claimed(20..30)], gone());
    finds(Breach::Unreadable, [claimed(20..30)], moved(&[]).into_iter().take(2));
}

#[test]
fn live_ids_are_counted() {
    let session = |number, entries: Vec<Entry>| {
        let of = move |entry| Entry { session: number, ..entry };
        [created()].into_iter().chain(entries).map(of)
    };
    let gone_by_both = || gone().into_iter().chain(gone().map(by_new));
    let entries: Vec<Entry> = [
        session(1, [claimed(20..30)].into_iter().chain(moved(&[])).collect()),
        session(2, [claim(ADA, 20..30, UNKNOWN)].into_iter().chain(last(&[])).collect()),
        session(
            3,
            [claimed(20..30), by_new(deleted(1, 40..50))]
                .into_iter()
                .chain(gone_by_both())
                .collect(),
        ),
        session(4, last(&[]).into()),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(breaches_in(&[], entries.clone()), []);
    let settled = Moment::from_millis(SETTLED);
    let claims = check(Facts { entries: &entries, settled, redis_faults: &[] }).claims;
    assert_eq!((claims.acknowledged, claims.unknown), (2, 1));
    assert_eq!((claims.new_id_lives, claims.old_id_lives), (1, 1));
    assert_eq!((claims.both_live, claims.none_lives), (0, 1));
}
