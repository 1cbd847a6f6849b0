//! When a lease is dead. Its holder increments a counter, and trusts the lease for a time from
//! *before* it sent the last confirmed renewal. Another instance reads the counter, waits as long
//! by its own clock from *after* the response, and deletes the lease if the counter is unchanged.
//! Clocks are never compared, Redis's neither.

use stateright::{Model, Property};

use super::{assert_holds, violations};

/// How long a renewal is trusted, and a counter observed, in clock steps.
const TERM: u8 = 2;
/// When the check ends.
const END: u8 = 6;

/// The premises of the argument.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Trust counts from before the renewal was sent, not from its confirmation.
    TrustFromBefore,
    /// The observation counts from after the counter was read, not from the request.
    WatchFromAfter,
    /// A lease is deleted only if its counter has the observed value.
    RemoveIfUnchanged,
    /// A renewal of a deleted lease fails.
    NeverRevive,
}

struct Timing {
    without: Option<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// The counter in Redis; `None` when the lease was deleted.
    count: Option<u8>,
    removed: bool,
    /// When the renewals in flight were sent; at most two, and each may be lost or late.
    renewals: [Option<u8>; 2],
    /// The confirmation in flight, by the time of its renewal.
    confirmed: Option<u8>,
    trusted_until: u8,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Watch {
    #[default]
    Idle,
    Requested {
        at: u8,
    },
    Read {
        requested: u8,
        count: u8,
    },
    Watching {
        since: u8,
        count: u8,
    },
    Removing {
        count: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Tick,
    Renew(usize),
    LoseRenewal(usize),
    Renewed(usize),
    Confirm,
    Request,
    Read,
    Note,
    Remove,
    Removed,
}

impl Model for Timing {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { count: Some(0), trusted_until: TERM, ..State::default() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.now < END {
            steps.push(Step::Tick);
        }
        for (i, renewal) in state.renewals.iter().enumerate() {
            match renewal {
                None => steps.push(Step::Renew(i)),
                Some(_) => steps.extend([Step::Renewed(i), Step::LoseRenewal(i)]),
            }
        }
        if state.confirmed.is_some() {
            steps.push(Step::Confirm);
        }
        match state.watch {
            Watch::Idle => steps.push(Step::Request),
            Watch::Requested { .. } => steps.push(Step::Read),
            Watch::Read { .. } => steps.push(Step::Note),
            Watch::Watching { since, .. } if state.now >= since + TERM => steps.push(Step::Remove),
            Watch::Watching { .. } => {}
            Watch::Removing { .. } => steps.push(Step::Removed),
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        match step {
            Step::Tick => next.now += 1,
            Step::Renew(i) => next.renewals[i] = Some(last.now),
            Step::LoseRenewal(i) => next.renewals[i] = None,
            Step::Renewed(i) => {
                let sent = next.renewals[i].take()?;
                if last.count.is_some() || self.without == Some(Rule::NeverRevive) {
                    next.count = Some(last.count.unwrap_or_default() + 1);
                    next.confirmed = Some(sent);
                }
            }
            Step::Confirm => {
                let sent = next.confirmed.take()?;
                let from =
                    if self.without == Some(Rule::TrustFromBefore) { last.now } else { sent };
                next.trusted_until = last.trusted_until.max(from + TERM);
            }
            Step::Request => next.watch = Watch::Requested { at: last.now },
            Step::Read => {
                let Watch::Requested { at } = last.watch else { return None };
                next.watch = Watch::Read { requested: at, count: last.count? };
            }
            Step::Note => {
                let Watch::Read { requested, count } = last.watch else { return None };
                let since =
                    if self.without == Some(Rule::WatchFromAfter) { requested } else { last.now };
                next.watch = Watch::Watching { since, count };
            }
            Step::Remove => {
                let Watch::Watching { count, .. } = last.watch else { return None };
                next.watch = Watch::Removing { count };
            }
            Step::Removed => {
                let Watch::Removing { count } = last.watch else { return None };
                next.watch = Watch::Idle;
                if last.count == Some(count) || self.without == Some(Rule::RemoveIfUnchanged) {
                    next.count = None;
                    next.removed = true;
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a dead lease is not trusted", |_, state: &State| {
                !state.removed || state.trusted_until <= state.now
            }),
            Property::sometimes("a lease dies", |_, state: &State| state.removed),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.count.is_none_or(|count| count < 4)
    }
}

#[test]
fn a_dead_lease_is_never_trusted() {
    assert_holds(Timing { without: None });
}

#[test]
fn no_premise_can_be_left_out() {
    use Rule::{NeverRevive, RemoveIfUnchanged, TrustFromBefore, WatchFromAfter};
    for rule in [TrustFromBefore, WatchFromAfter, RemoveIfUnchanged, NeverRevive] {
        let broken = violations(Timing { without: Some(rule) });
        assert!(broken.contains(&"a dead lease is not trusted"), "without {rule:?}: {broken:?}");
    }
}
