//! Handwritten ledgers: the checker finds each kind of violation, and none in correct ledgers.

use std::ops::Range;

use super::{Breach, Facts, check};
use crate::chaos::ledger::{
    Act, ClientNumber, Entry, IdUsed, Interval, Message, Moment, Origin, Outcome, Patches,
    Repetition, Seen, Trust, View,
};

mod claims;
mod simulated;

/// When the final reads begin.
const SETTLED: u64 = 1000;
const REFUSED: Outcome = Outcome::Refused;
const ABSENT: Outcome = Outcome::Absent;
const UNKNOWN: Outcome = Outcome::Unknown;

/// Times are in milliseconds.
fn act(client: ClientNumber, time: Range<u64>, act: Act, outcome: Outcome) -> Entry {
    let time =
        Interval { begin: Moment::from_millis(time.start), end: Moment::from_millis(time.end) };
    Entry { client, session: 1, id: IdUsed::Original, time, act, outcome }
}

fn done(view: View) -> Outcome {
    Outcome::Done(Seen { view, trust: Trust::Verified, origin: Origin::Own })
}

fn message(client: ClientNumber, sequence: u32) -> Message {
    Message { session: 1, client, sequence }
}

fn view(version: u64, messages: u64, patches: &[(ClientNumber, u32)]) -> Outcome {
    done(View::Session { version, messages, patches: Patches::from_iter(patches.iter().copied()) })
}

fn created() -> Entry {
    act(0, 0..10, Act::Create, view(1, 0, &[]))
}

fn append(client: ClientNumber, sequence: u32, time: Range<u64>, outcome: Outcome) -> Entry {
    act(client, time, Act::Append(message(client, sequence)), outcome)
}

fn posted(client: ClientNumber, sequence: u32, time: Range<u64>, number: u64) -> Entry {
    append(client, sequence, time, done(View::Posted { version: number + 1, number }))
}

fn read(client: ClientNumber, time: Range<u64>, version: u64, messages: u64) -> Entry {
    act(client, time, Act::Read, view(version, messages, &[]))
}

fn history(client: ClientNumber, time: Range<u64>, messages: &[(ClientNumber, u32)]) -> Entry {
    let messages = messages.iter().map(|&(client, sequence)| message(client, sequence)).collect();
    act(client, time, Act::History, done(View::History(messages)))
}

fn deleted(client: ClientNumber, time: Range<u64>) -> Entry {
    act(client, time, Act::Delete, done(View::Deleted))
}

/// The final reads of a session without patches.
fn last(messages: &[(ClientNumber, u32)]) -> [Entry; 2] {
    let count = messages.len() as u64;
    [read(90, SETTLED..1010, count + 1, count), history(90, 1010..1020, messages)]
}

fn gone() -> [Entry; 1] {
    [act(90, SETTLED..1010, Act::Read, ABSENT)]
}

/// The kinds of breaches between the create and the final reads, with the count of each.
fn breaches(
    story: impl IntoIterator<Item = Entry>,
    last: impl IntoIterator<Item = Entry>,
) -> Vec<(Breach, u64)> {
    breaches_in(&[], [created()].into_iter().chain(story).chain(last).collect())
}

fn breaches_in(redis_faults: &[Interval], entries: Vec<Entry>) -> Vec<(Breach, u64)> {
    let findings =
        check(Facts { entries: &entries, settled: Moment::from_millis(SETTLED), redis_faults });
    let mut kinds: Vec<Breach> =
        findings.violations.iter().map(|violation| violation.breach).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(|kind| (kind, findings.count(kind))).collect()
}

/// Asserts that exactly this one violation is found.
#[track_caller]
fn finds(
    breach: Breach,
    story: impl IntoIterator<Item = Entry>,
    last: impl IntoIterator<Item = Entry>,
) {
    assert_eq!(breaches(story, last), [(breach, 1)]);
}

#[track_caller]
fn is_clean(story: impl IntoIterator<Item = Entry>, last: impl IntoIterator<Item = Entry>) {
    assert_eq!(breaches(story, last), []);
}

#[test]
fn one_client_after_the_other_is_clean() {
    let story = [
        posted(1, 1, 20..30, 1),
        read(1, 40..50, 2, 1),
        posted(2, 1, 60..70, 2),
        history(1, 80..90, &[(1, 1), (2, 1)]),
        append(1, 2, 100..110, REFUSED),
    ];
    is_clean(story, last(&[(1, 1), (2, 1)]));
}

#[test]
fn an_unknown_write_may_be_done_at_once_late_or_never() {
    let unknown = || append(1, 1, 20..30, UNKNOWN);
    is_clean([unknown(), history(1, 40..50, &[(1, 1)])], last(&[(1, 1)]));
    is_clean([unknown(), posted(1, 2, 40..50, 1), read(1, 60..70, 2, 1)], last(&[(1, 2), (1, 1)]));
    is_clean([unknown(), posted(1, 2, 40..50, 1)], last(&[(1, 2)]));
}

#[test]
fn acts_that_overlap_may_be_seen_in_either_order() {
    is_clean([posted(1, 1, 20..60, 2), posted(2, 1, 30..50, 1)], last(&[(2, 1), (1, 1)]));
    is_clean(
        [posted(1, 1, 20..60, 1), read(2, 30..40, 2, 1), read(3, 25..50, 1, 0)],
        last(&[(1, 1)]),
    );
    is_clean(
        [posted(1, 1, 20..60, 1), deleted(2, 30..50), act(3, 40..55, Act::Read, ABSENT)],
        gone(),
    );
    // The response arrives at the moment at which the next request is sent.
    is_clean([posted(1, 1, 20..30, 1), read(2, 30..40, 1, 0)], last(&[(1, 1)]));
}

#[test]
fn an_unknown_delete_leaves_the_session_or_takes_it() {
    let delete = || act(1, 20..30, Act::Delete, UNKNOWN);
    is_clean([delete(), posted(1, 1, 40..50, 1)], last(&[(1, 1)]));
    is_clean([delete(), posted(1, 1, 40..50, 1), act(2, 60..70, Act::Read, ABSENT)], gone());
}

#[test]
fn a_delete_that_is_repeated_is_clean() {
    is_clean([deleted(1, 20..30), deleted(1, 40..50)], gone());
    is_clean([deleted(1, 20..30), act(1, 40..50, Act::Delete, ABSENT)], gone());
}

#[test]
fn a_message_that_is_missing_at_the_end_is_lost() {
    finds(Breach::Lost, [posted(1, 1, 20..30, 1)], [history(90, 1010..1020, &[])]);
    finds(
        Breach::Lost,
        [posted(1, 1, 20..30, 1), posted(1, 2, 40..50, 2)],
        [history(90, 1010..1020, &[(1, 1)])],
    );
}

#[test]
fn an_overwritten_message_is_lost_even_if_its_session_is_deleted_later() {
    let story = [
        posted(1, 1, 20..50, 1),
        append(2, 1, 20..50, UNKNOWN),
        history(3, 60..70, &[(2, 1)]),
        history(4, 60..70, &[(2, 1)]),
        deleted(1, 80..90),
    ];
    finds(Breach::Lost, story, gone());
}

#[test]
fn a_vanished_session_is_lost_with_all_its_messages() {
    let story = [posted(1, 1, 20..30, 1), posted(1, 2, 40..50, 2)];
    assert_eq!(breaches(story, gone()), [(Breach::Lost, 3)]);
    // A delete that found no session did not delete it.
    let story = [act(1, 20..30, Act::Delete, ABSENT)];
    assert_eq!(breaches(story, gone()), [(Breach::Lost, 1), (Breach::StaleRead, 1)]);
}

#[test]
fn a_patch_that_a_later_version_does_not_show_is_lost() {
    let patch = |client, sequence, time, outcome| act(client, time, Act::Patch(sequence), outcome);
    let end = |patches: &[(ClientNumber, u32)]| {
        [act(90, SETTLED..1010, Act::Read, view(3, 0, patches)), history(90, 1010..1020, &[])]
    };
    // Both patches read version 1, and the second replaced the whole client data.
    let race =
        || [patch(1, 1, 20..50, view(2, 0, &[(1, 1)])), patch(2, 1, 20..60, view(3, 0, &[(2, 1)]))];
    finds(Breach::Lost, race(), end(&[(2, 1)]));
    let orderly =
        || [patch(1, 1, 20..30, view(2, 0, &[(1, 1)])), patch(1, 2, 40..60, view(3, 0, &[(1, 2)]))];
    is_clean(orderly(), end(&[(1, 2)]));
    let late = || [patch(1, 1, 20..30, UNKNOWN), patch(1, 2, 40..60, view(2, 0, &[(1, 2)]))];
    is_clean(late(), end(&[(1, 1)]));
}

#[test]
fn a_message_that_is_there_twice_is_duplicated() {
    finds(Breach::Duplicated, [append(1, 1, 20..30, UNKNOWN)], last(&[(1, 1), (1, 1)]));
    let story =
        [posted(1, 1, 20..30, 1), history(1, 40..50, &[(1, 1), (1, 1)]), deleted(1, 60..70)];
    finds(Breach::Duplicated, story, gone());
}

#[test]
fn a_patch_that_was_done_twice_shows_in_the_version() {
    let patch = act(1, 20..30, Act::Patch(1), UNKNOWN);
    let end =
        [act(90, SETTLED..1010, Act::Read, view(3, 0, &[(1, 1)])), history(90, 1010..1020, &[])];
    finds(Breach::Duplicated, [patch], end);
}

/// The service lost the reply of its store, tried again, and found the session deleted.
#[test]
fn a_write_that_finds_a_session_deleted_meanwhile_may_have_been_done_before() {
    let story = |write: Range<u64>| {
        let append = append(1, 1, write.clone(), ABSENT);
        let patch = act(2, write, Act::Patch(1), ABSENT);
        let seen = act(3, 30..35, Act::Read, view(3, 1, &[(2, 1)]));
        [append, patch, seen, history(3, 35..40, &[(1, 1)]), deleted(4, 40..50)]
    };
    is_clean(story(20..60), gone());
    // Too late for a try before the delete.
    let found = breaches(story(60..70), gone());
    assert_eq!(found, [(Breach::Duplicated, 1), (Breach::Phantom, 2)]);
}

#[test]
fn a_repeated_write_must_get_the_first_response() {
    let repeat = |outcome| act(1, 40..50, Act::Repeat("message"), done(View::Repeated(outcome)));
    is_clean([posted(1, 1, 20..30, 1), repeat(Repetition::Same)], last(&[(1, 1)]));
    finds(
        Breach::Duplicated,
        [posted(1, 1, 20..30, 1), repeat(Repetition::Different)],
        last(&[(1, 1)]),
    );
    is_clean([deleted(1, 20..30), repeat(Repetition::Same)], gone());
}

#[test]
fn a_message_behind_one_that_was_sent_after_it_is_reordered() {
    let story =
        [append(1, 1, 20..30, UNKNOWN), posted(2, 1, 40..50, 3), append(3, 1, 60..70, UNKNOWN)];
    finds(Breach::Reordered, story, last(&[(1, 1), (3, 1), (2, 1)]));
}

#[test]
fn a_message_with_another_number_than_acknowledged_is_reordered() {
    let story = [posted(1, 1, 20..50, 1), append(2, 1, 20..50, UNKNOWN)];
    finds(Breach::Reordered, story, last(&[(2, 1), (1, 1)]));
}

#[test]
fn two_readers_that_see_different_orders_are_a_violation() {
    let story = [
        append(1, 1, 20..50, UNKNOWN),
        append(2, 1, 20..50, UNKNOWN),
        history(3, 60..70, &[(1, 1), (2, 1)]),
    ];
    finds(Breach::Reordered, story, last(&[(2, 1), (1, 1)]));
}

#[test]
fn a_read_that_shows_an_older_state_than_seen_before_is_stale() {
    let write = || posted(1, 1, 20..30, 1);
    let end = || last(&[(1, 1)]);
    finds(Breach::StaleRead, [write(), read(2, 40..50, 1, 0)], end());
    finds(Breach::StaleRead, [write(), history(2, 40..50, &[])], end());
    // The write is not acknowledged yet, but another client has read it.
    let slow = posted(1, 1, 20..90, 1);
    finds(Breach::StaleRead, [slow, read(2, 30..40, 2, 1), read(3, 50..60, 1, 0)], end());
}

#[test]
fn a_write_whose_response_shows_an_older_state_is_stale() {
    let story = [
        act(1, 20..30, Act::Patch(1), view(2, 0, &[(1, 1)])),
        append(2, 1, 40..50, UNKNOWN),
        read(3, 60..70, 3, 1),
    ];
    let stale = append(1, 2, 80..90, done(View::Posted { version: 3, number: 2 }));
    let end = [
        act(90, SETTLED..1010, Act::Read, view(4, 2, &[(1, 1)])),
        history(90, 1010..1020, &[(2, 1), (1, 2)]),
    ];
    let found = breaches(story.into_iter().chain([stale]), end);
    assert!(found.contains(&(Breach::StaleRead, 2)), "{found:?}");
}

#[test]
fn a_session_that_vanishes_for_a_while_is_stale() {
    finds(Breach::StaleRead, [act(1, 20..30, Act::Read, ABSENT)], last(&[]));
    finds(Breach::StaleRead, [append(1, 1, 20..30, ABSENT)], last(&[]));
}

#[test]
fn one_version_has_one_state_and_one_writer() {
    let patched = act(1, 20..50, Act::Patch(1), view(2, 0, &[(1, 1)]));
    let other = act(2, 20..50, Act::Read, view(2, 0, &[]));
    let end =
        [act(90, SETTLED..1010, Act::Read, view(2, 0, &[(1, 1)])), history(90, 1010..1020, &[])];
    let found = breaches([patched, other], end);
    assert!(found.contains(&(Breach::StaleRead, 1)), "{found:?}");

    let writers = [posted(1, 1, 20..50, 1), posted(2, 1, 20..50, 1)];
    let found = breaches(writers, last(&[(1, 1), (2, 1)]));
    assert!(found.contains(&(Breach::StaleRead, 1)), "{found:?}");
}

#[test]
fn unverified_reads_are_excused_by_a_redis_fault_and_by_nothing_else() {
    let mut old = read(2, 40..50, 1, 0);
    let Outcome::Done(seen) = &mut old.outcome else { panic!("a read") };
    seen.trust = Trust::Unverified;
    let story: Vec<Entry> =
        [created(), posted(1, 1, 20..30, 1), old].into_iter().chain(last(&[(1, 1)])).collect();
    let fault = |time: Range<u64>| act(0, time, Act::Read, UNKNOWN).time;
    assert_eq!(breaches_in(&[fault(10..60)], story.clone()), []);
    assert_eq!(breaches_in(&[fault(48..60)], story.clone()), []);
    assert_eq!(
        breaches_in(&[fault(0..10), fault(60..90)], story),
        [(Breach::UnverifiedOutsideFault, 1)]
    );
}

#[test]
fn a_response_with_another_sessions_state_is_a_violation() {
    let mut wrong = read(2, 20..30, 1, 0);
    let Outcome::Done(seen) = &mut wrong.outcome else { panic!("a read") };
    seen.origin = Origin::Foreign;
    finds(Breach::CrossSessionRead, [wrong], last(&[]));
}

#[test]
fn a_session_that_is_seen_after_its_deletion_is_resurrected() {
    finds(Breach::Resurrected, [deleted(1, 20..30), read(2, 40..50, 1, 0)], gone());
    finds(Breach::Resurrected, [deleted(1, 20..30), posted(2, 1, 40..50, 1)], gone());
    let found_out = act(2, 40..50, Act::Read, ABSENT);
    let story = [act(1, 20..30, Act::Delete, UNKNOWN), found_out, read(3, 60..70, 1, 0)];
    finds(Breach::Resurrected, story, gone());
    finds(Breach::Resurrected, [deleted(1, 20..30)], last(&[]));
}

#[test]
fn a_stored_write_that_was_rejected_or_never_sent_is_a_phantom() {
    finds(Breach::Phantom, [append(1, 1, 20..30, REFUSED)], [history(90, 1010..1020, &[(1, 1)])]);
    finds(Breach::Phantom, [], [history(90, 1010..1020, &[(1, 1)])]);
    let patch = act(1, 20..30, Act::Patch(1), UNKNOWN);
    let story = [patch, act(1, 40..50, Act::Read, view(2, 0, &[(5, 1)])), deleted(1, 60..70)];
    finds(Breach::Phantom, story, gone());
}

#[test]
fn a_session_that_cannot_be_read_at_the_end_is_unreadable() {
    finds(Breach::Unreadable, [posted(1, 1, 20..30, 1)], []);
    finds(Breach::Unreadable, [], [act(90, SETTLED..1010, Act::Read, UNKNOWN)]);
    finds(
        Breach::Unreadable,
        [],
        [read(90, SETTLED..1010, 1, 0), act(90, 1010..1020, Act::History, UNKNOWN)],
    );
    // A session whose create was not acknowledged is not checked.
    assert_eq!(breaches_in(&[], vec![act(0, 0..10, Act::Create, UNKNOWN)]), []);
}

#[test]
fn writes_and_gaps_are_counted() {
    let entries = vec![
        created(),
        posted(1, 1, 20..30, 1),
        append(1, 2, 40..50, UNKNOWN),
        append(1, 3, 60..70, REFUSED),
        read(1, 80..130, 2, 1),
        history(90, 2000..9000, &[(1, 1)]),
    ];
    let findings = check(Facts {
        entries: &entries,
        settled: Moment::from_millis(SETTLED),
        redis_faults: &[],
    });
    assert_eq!((findings.acknowledged, findings.unknown, findings.unverified_reads), (2, 1, 0));
    assert_eq!(
        findings.worst_gap,
        Moment::from_millis(100),
        "from the response at 30 to that at 130"
    );
}
