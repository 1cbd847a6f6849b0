//! Whether a canary is worse than the other instances of its pool, by counts alone.
//!
//! All of them get requests of the same clients at the same time, so a fault of the network, of a
//! database or of a client meets the others as well. What remains is chance, which Fisher's exact
//! test measures: no count is too small for it.
//!
//! Requests of one client are alike, so chance is larger than the test says where clients keep to
//! an instance. So the canary must also be worse than the worst of the others, by a margin.

use proto_contracts::control::PutBack;
use service_kit::telemetry::metrics::DURATION_BUCKETS;

use super::counts::{Counts, Times};
use super::fisher::p_value;

/// The most that chance may explain at one of many looks: with one a second for half an hour and
/// three comparisons, a canary that is as good is put back in 5 of 1,000 cases at most.
pub(super) const AT_A_LOOK: f64 = 1e-6;
/// The same for the one comparison at the end.
pub(super) const AT_THE_END: f64 = 1e-4;

/// How much more it must fail, and reject, as a share of its requests.
const FAILED_MARGIN: f64 = 0.001;
const REJECTED_MARGIN: f64 = 0.05;
/// How much longer its p99 must be than the others': this factor, and so many seconds.
const P99_FACTOR: f64 = 2.0;
const P99_MARGIN_S: f64 = 0.005;
/// Above this share of failed requests the others are no measure.
const POOL_FAILS: f64 = 0.1;
/// Requests from which on one other instance alone is a measure.
const MEASURE: u64 = 100;

/// Why a canary is put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Worse {
    /// The kind.
    pub(super) reason: PutBack,
    /// In words.
    pub(super) why: String,
}

/// So many of so many.
#[derive(Clone, Copy)]
struct Part {
    of: u64,
    marked: u64,
}

impl Part {
    fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.marked as f64 / self.of as f64 }
    }
}

/// Whether it is worse, if chance may explain that with this probability at most.
pub(super) fn worse(canary: &Counts, others: &[Counts], chance: f64) -> Option<Worse> {
    let part = |marked: fn(&Counts) -> u64| {
        // A request counts as failed before it counts as sent, if a look falls in between.
        move |counts: &Counts| {
            let marked = marked(counts);
            Part { of: counts.requests.max(marked), marked }
        }
    };
    let compare = |reason, verb: &str, part: &dyn Fn(&Counts) -> Part, margin: f64| {
        let (own, theirs) = (part(canary), sum(others.iter().map(part)));
        let worst = others.iter().map(part).filter(|other| other.of >= MEASURE);
        let worst = worst.map(Part::share).fold(theirs.share(), f64::max);
        let is_worse = own.share() > worst + margin
            && p_value(own.marked, own.of, theirs.marked, theirs.of) < chance;
        let why = || format!("it {verb} {}, the others {}", counted(own), counted(theirs));
        is_worse.then(|| Worse { reason, why: why() })
    };
    let slow = || {
        let place = slow_from(others)?;
        let part = |counts: &Counts| {
            let times = &counts.times;
            Part { of: times.total(), marked: times.above(place) }
        };
        // More than a hundredth is a p99 above that bound.
        let is_slow = part(canary).share() > 0.01;
        let ms = DURATION_BUCKETS[place] * 1_000.0;
        let verb = format!("took more than {ms} ms for");
        compare(PutBack::Latency, &verb, &part, 0.0).filter(|_| is_slow)
    };
    compare(PutBack::Errors, "failed", &part(|counts| counts.failed), FAILED_MARGIN)
        .or_else(|| {
            let rejected = part(|counts| counts.rejected);
            compare(PutBack::Rejections, "rejected", &rejected, REJECTED_MARGIN)
        })
        .or_else(slow)
}

/// Whether it is as good, after all looks.
///
/// # Errors
/// When it is worse, or nothing can be said.
pub(super) fn at_the_end(canary: &Counts, others: &[Counts], least: u64) -> Result<(), Worse> {
    if let Some(worse) = worse(canary, others, AT_THE_END) {
        return Err(worse);
    }
    let theirs = together(others);
    let undecided = |why| Err(Worse { reason: PutBack::Undecided, why });
    if !is_enough(canary, others, least) {
        return undecided(format!(
            "it had {} requests and the others {}, too few to judge it: each needs {}",
            grouped(canary.requests),
            grouped(theirs.requests),
            grouped(least)
        ));
    }
    if canary.times.total() == 0 {
        return undecided(format!(
            "none of its last {} requests has a response yet: watch it longer",
            grouped(canary.requests)
        ));
    }
    let failed = Part { of: theirs.requests, marked: theirs.failed };
    if failed.share() > POOL_FAILS {
        return undecided(format!(
            "the others failed {}, so they are no measure for it",
            counted(failed)
        ));
    }
    Ok(())
}

/// Whether both had as many requests as are needed to judge it.
pub(super) fn is_enough(canary: &Counts, others: &[Counts], least: u64) -> bool {
    canary.requests >= least && others.iter().map(|other| other.requests).sum::<u64>() >= least
}

/// What was counted, in words.
pub(super) fn summary(canary: &Counts, others: &[Counts]) -> String {
    let theirs = together(others);
    let failed = |counts: &Counts| counted(Part { of: counts.requests, marked: counts.failed });
    let p99 = |times: &Times| {
        times.p99().map_or_else(|| "unknown".to_owned(), |p99| format!("{:.1} ms", p99 * 1_000.0))
    };
    format!(
        "it failed {}, the others {}; its p99 is {}, theirs {}",
        failed(canary),
        failed(&theirs),
        p99(&canary.times),
        p99(&theirs.times)
    )
}

/// The place of the smallest bound of a bucket that is clearly above the others' p99; `None` if they
/// have none, or it is above all bounds.
fn slow_from(others: &[Counts]) -> Option<usize> {
    let theirs = together(others);
    let p99 = theirs.times.p99().filter(|_| theirs.times.total() >= MEASURE)?;
    let bound = (P99_FACTOR * p99).max(p99 + P99_MARGIN_S);
    DURATION_BUCKETS.iter().position(|known| *known >= bound)
}

fn together(others: &[Counts]) -> Counts {
    others.iter().fold(Counts::default(), |sum, counts| sum.plus(counts))
}

fn sum(parts: impl Iterator<Item = Part>) -> Part {
    let none = Part { of: 0, marked: 0 };
    parts.fold(none, |sum, part| Part { of: sum.of + part.of, marked: sum.marked + part.marked })
}

fn counted(part: Part) -> String {
    let (marked, of) = (grouped(part.marked), grouped(part.of));
    format!("{marked} of {of} requests ({:.2} %)", 100.0 * part.share())
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let places = digits.char_indices();
    let grouped = places.flat_map(|(place, digit)| {
        let begins_group = place > 0 && (digits.len() - place).is_multiple_of(3);
        begins_group.then_some(',').into_iter().chain([digit])
    });
    grouped.collect()
}

#[cfg(test)]
mod tests;
