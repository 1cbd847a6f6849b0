//! How a session moves between instances: one session, two or three instances with a client each.
//!
//! Every act that goes to Redis is one atomic script (`Step::Execute`) which says by whom it is sent: the sender's lease and a
//! *ticket*, which the sender draws afresh for each act. Redis keeps the `holder` (the one mark whose copy may be served) and
//! the `drops` (marks whose copies are not known to be gone). Messages are lost, late and overtaken; an act whose client has
//! given up may still be executed at any later time; instances crash, stand still and lose their leases.

mod fault;
mod instance;
mod redis;

use stateright::{Model, Property};

use super::{breaks, holds};
use fault::{Budget, NONE, Rule};
use instance::Kind::{RoundRobinRead, RoundRobinRepeat, RoundRobinWrite, StickyRead, StickyRepeat, StickyWrite};
use instance::{Client, Instance, Kind, Stage};
use redis::{Act, Redis};

/// What is checked.
struct Handover {
    instances: usize,
    /// For each client, which instance it asks and how many times.
    clients: &'static [(usize, u8)],
    /// What a client may ask, each time.
    kinds: &'static [Kind],
    faults: Budget,
    without: Option<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    redis: Redis,
    instances: Vec<Instance>,
    clients: Vec<Client>,
    /// Acts that their clients gave up while they were under way; Redis may still execute them.
    late: Vec<Act>,
    /// Requests to drop that are under way to a lease's channel.
    asked: Vec<u8>,
    /// Confirmations under way: the lease, and the newest ticket whose copy is gone.
    confirmed: Vec<(u8, u8)>,
    /// The newest version that any client was told of.
    known: u8,
    faults: Budget,
    /// A client was shown an older version than was known when it asked.
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The client asks; a sticky read looks at the lease.
    Begin(usize, Kind),
    /// A sticky read whose lease was good looks for the copy.
    LookUp(usize),
    /// Redis executes the act.
    Execute(usize),
    /// The instance asks Redis which drops are left.
    Check(usize),
    /// The client gets its answer.
    Answer(usize),
    /// An instance with drops to finish asks the lease's holder.
    Ask(u8),
    /// A request to drop arrives.
    Drop(u8),
    /// A confirmation is executed.
    Confirm(u8),
    /// The lease is declared dead: its holder has not renewed it for long enough.
    Bury(u8),
    /// The drop of a dead lease is confirmed for it.
    ConfirmForDead(u8),
    /// By its own clock, the instance's lease has run out.
    Lapse(usize),
    /// The lease is renewed.
    Renew(usize),
    /// The instance learns that its lease is dead.
    Learn(usize),
    /// The instance takes a new lease.
    Take(usize),
    /// Redis executes an act that was given up.
    ExecuteLate(usize),
    /// A request to drop, or a confirmation, is lost.
    LoseAsked(u8),
    LoseConfirmed(u8),
    /// The client gives up, with its act in whatever state.
    GiveUp(usize),
    /// The instance dies and starts anew without memory.
    Crash(usize),
    /// The channel of drop requests breaks, for good as far as anybody can tell.
    Deafen(usize),
}

impl Handover {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Steps that happen by themselves, sooner or later.
    fn progress(&self, state: &State, steps: &mut Vec<Step>) {
        for (c, client) in state.clients.iter().enumerate() {
            match &client.stage {
                Stage::Idle if client.left > 0 => {
                    steps.extend(self.kinds.iter().map(|kind| Step::Begin(c, *kind)));
                }
                Stage::Idle => {}
                Stage::Checked { .. } | Stage::Found { .. } => steps.push(Step::LookUp(c)),
                Stage::Sent { .. } => steps.push(Step::Execute(c)),
                Stage::Settling { act, .. } if self.settles(act) => {
                    if state.redis.drops.is_empty() {
                        steps.push(Step::Check(c));
                    }
                    for (lease, _) in &state.redis.drops {
                        self.finish_drop(state, *lease, steps);
                    }
                }
                Stage::Settling { .. } => steps.push(Step::Check(c)),
                Stage::Settled { .. } => steps.push(Step::Answer(c)),
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            match instance.lease {
                None => steps.push(Step::Take(i)),
                Some(lease) if state.redis.dead.contains(&lease) => steps.push(Step::Learn(i)),
                // Nothing but the renewal keeps an instance from running out of its lease.
                Some(_) if instance.trusted && !self.renews(instance) => steps.push(Step::Lapse(i)),
                Some(_) if !instance.trusted && self.renews(instance) => steps.push(Step::Renew(i)),
                Some(_) => {}
            }
        }
        steps.extend(state.asked.iter().map(|lease| Step::Drop(*lease)));
        steps.extend(state.confirmed.iter().map(|(lease, _)| Step::Confirm(*lease)));
    }

    fn finish_drop(&self, state: &State, lease: u8, steps: &mut Vec<Step>) {
        let under_way = state.asked.contains(&lease) || state.confirmed.iter().any(|(of, _)| *of == lease);
        let step = match () {
            () if state.redis.dead.contains(&lease) => Step::ConfirmForDead(lease),
            () if under_way => return,
            () if self.listening(state, lease) => Step::Ask(lease),
            () if !self.is_trusted(state, lease) => Step::Bury(lease),
            () => return,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }

    /// Steps that may or may not happen.
    fn mishaps(&self, state: &State, steps: &mut Vec<Step>) {
        for (c, client) in state.clients.iter().enumerate() {
            if client.stage != Stage::Idle && state.faults.give_ups > 0 {
                steps.push(Step::GiveUp(c));
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            if state.faults.crashes > 0 {
                steps.push(Step::Crash(i));
            }
            if state.faults.deafens > 0 && !instance.deaf {
                steps.push(Step::Deafen(i));
            }
            if instance.lease.is_some() && instance.trusted && state.faults.lapses > 0 {
                steps.push(Step::Lapse(i));
            }
        }
        for (lease, _) in &state.redis.drops {
            if !state.redis.dead.contains(lease) && !self.is_trusted(state, *lease) {
                steps.push(Step::Bury(*lease));
            }
        }
        steps.extend((0..state.late.len()).map(Step::ExecuteLate));
        if state.faults.losses > 0 {
            steps.extend(state.asked.iter().map(|lease| Step::LoseAsked(*lease)));
            steps.extend(state.confirmed.iter().map(|(lease, _)| Step::LoseConfirmed(*lease)));
        }
    }

    fn settles(&self, act: &Act) -> bool {
        match act.kind {
            Kind::RoundRobinRead => self.has(Rule::ReadersFinishDrops),
            _ => self.has(Rule::TakersFinishDrops),
        }
    }

    fn renews(&self, instance: &Instance) -> bool {
        !instance.deaf || !self.has(Rule::DeafInstancesDoNotRenew)
    }

    fn listening(&self, state: &State, lease: u8) -> bool {
        state.instances.iter().any(|instance| instance.lease == Some(lease) && !instance.deaf)
    }

    fn is_trusted(&self, state: &State, lease: u8) -> bool {
        self.has(Rule::TrustEndsFirst)
            && state.instances.iter().any(|instance| instance.lease == Some(lease) && instance.trusted)
    }
}

impl State {
    /// A client is shown a version; `known` is what was known when it asked.
    fn show(&mut self, version: u8, known: u8) {
        self.stale |= version < known;
        self.known = self.known.max(version);
    }

    fn unfinished(&self) -> bool {
        self.clients.iter().any(|client| client.stage != Stage::Idle || client.left > 0)
    }

    fn ask(&mut self, lease: u8) {
        if !self.asked.contains(&lease) {
            self.asked.push(lease);
            self.asked.sort_unstable();
        }
    }

    fn confirm(&mut self, lease: u8, ticket: u8) {
        // One that is under way already may be older: then it stays, and this one is asked for again.
        if !self.confirmed.iter().any(|(of, _)| *of == lease) {
            self.confirmed.push((lease, ticket));
            self.confirmed.sort_unstable();
        }
    }
}

impl Model for Handover {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let instances = (0..self.instances).map(Instance::new).collect();
        let (late, asked, confirmed) = (Vec::new(), Vec::new(), Vec::new());
        let clients = self.clients.iter().map(|(at, acts)| Client::new(*at, *acts)).collect();
        let (redis, faults) = (Redis::default(), self.faults);
        vec![State { redis, instances, clients, late, asked, confirmed, known: 0, faults, stale: false }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        // A broken run needs no end.
        if !state.stale && state.unfinished() {
            self.progress(state, steps);
            self.mishaps(state, steps);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        match step {
            Step::Begin(c, kind) => instance::begin(self, &mut next, c, kind),
            Step::LookUp(c) => instance::look_up(self, &mut next, c)?,
            Step::Execute(c) => instance::execute(self, &mut next, c)?,
            Step::Check(c) => instance::check(&mut next, c)?,
            Step::Answer(c) => instance::answer(self, &mut next, c)?,
            Step::Ask(lease) => next.ask(lease),
            Step::Drop(lease) => {
                next.asked.retain(|of| *of != lease);
                let instance = next.instances.iter_mut().find(|it| it.lease == Some(lease) && !it.deaf);
                if let Some(instance) = instance {
                    instance.drop_copy(self.has(Rule::DropsVoidFills));
                    let ticket = instance.ticket;
                    next.confirm(lease, ticket);
                }
            }
            Step::Confirm(lease) => {
                let at = last.confirmed.iter().position(|(of, _)| *of == lease)?;
                let (_, ticket) = next.confirmed.remove(at);
                let ticket = if self.has(Rule::ConfirmationsCarryTickets) { ticket } else { u8::MAX };
                next.redis.confirm(lease, ticket);
            }
            Step::Bury(lease) => next.redis.bury(lease),
            Step::ConfirmForDead(lease) => next.redis.confirm(lease, u8::MAX),
            Step::Lapse(i) => {
                next.instances[i].trusted = false;
                if self.renews(&last.instances[i]) {
                    next.faults.lapses -= 1;
                }
            }
            Step::Renew(i) => next.instances[i].trusted = true,
            Step::Learn(i) => next.instances[i].learn(),
            Step::Take(i) => next.instances[i].take(self.has(Rule::NewLeasesAreEmpty)),
            Step::ExecuteLate(at) => {
                let act = next.late.remove(at);
                next.redis.execute(&act, self.has(Rule::TicketsOrderActs));
            }
            Step::LoseAsked(lease) => {
                next.asked.retain(|of| *of != lease);
                next.faults.losses -= 1;
            }
            Step::LoseConfirmed(lease) => {
                next.confirmed.retain(|(of, _)| *of != lease);
                next.faults.losses -= 1;
            }
            Step::GiveUp(c) => {
                instance::give_up(&mut next, c);
                next.faults.give_ups -= 1;
            }
            Step::Crash(i) => {
                (0..next.clients.len())
                    .filter(|c| last.clients[*c].at == i)
                    .for_each(|c| instance::give_up(&mut next, c));
                next.instances[i].crash();
                next.faults.crashes -= 1;
            }
            Step::Deafen(i) => {
                next.instances[i].deaf = true;
                next.faults.deafens -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("reads are linearizable", |_, state: &State| !state.stale),
            Property::always("nobody waits for ever", |model: &Self, state: &State| {
                let mut steps = Vec::new();
                if !state.stale && state.unfinished() {
                    model.progress(state, &mut steps);
                    return !steps.is_empty();
                }
                true
            }),
            Property::sometimes("a read comes from memory", |_, state: &State| {
                state.clients.iter().any(|client| matches!(client.stage, Stage::Found { .. }))
            }),
        ]
    }
}

const ALL: &[Kind] = &[StickyRead, StickyWrite, RoundRobinRead, RoundRobinWrite];
/// One client for each of two instances.
const TWO: &[(usize, u8)] = &[(0, 2), (1, 2)];

fn handover(clients: &'static [(usize, u8)], faults: Budget) -> Handover {
    let instances = clients.iter().map(|(at, _)| at + 1).max().unwrap_or_default();
    Handover { instances, clients, kinds: ALL, faults, without: None }
}

#[test]
fn two_instances_whose_messages_are_late() {
    holds(handover(TWO, Budget { give_ups: 1, ..NONE }));
}

#[test]
fn two_instances_whose_messages_are_lost() {
    holds(handover(TWO, Budget { losses: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_crashes() {
    holds(handover(TWO, Budget { crashes: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_stands_still() {
    holds(handover(TWO, Budget { lapses: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_is_deaf() {
    holds(handover(TWO, Budget { deafens: 1, ..NONE }));
}

/// A repetition takes no copy away, and tells nothing older than what is known.
#[test]
fn two_instances_and_writes_that_are_repeated() {
    let kinds = &[StickyRead, StickyWrite, RoundRobinWrite, StickyRepeat, RoundRobinRepeat];
    holds(Handover { kinds, ..handover(TWO, Budget { give_ups: 1, ..NONE }) });
    holds(Handover { kinds, ..handover(TWO, Budget { lapses: 1, ..NONE }) });
}

#[test]
fn two_clients_of_one_instance_and_one_of_another() {
    holds(handover(&[(0, 2), (0, 1), (1, 1)], NONE));
}

#[test]
fn three_instances() {
    holds(handover(&[(0, 2), (1, 1), (2, 1)], NONE));
}

/// Eleven million states; two minutes.
#[test]
#[ignore = "it takes minutes; run it when the protocol changes"]
fn two_clients_of_one_instance_and_one_of_another_for_longer() {
    let kinds = &[StickyRead, StickyWrite, RoundRobinWrite];
    holds(Handover { kinds, ..handover(&[(0, 2), (0, 2), (1, 2)], NONE) });
}

#[test]
fn no_rule_of_the_handover_can_be_left_out() {
    const LONG: &[(usize, u8)] = &[(0, 3), (1, 3)];
    const CROWDED: &[(usize, u8)] = &[(0, 2), (0, 2), (1, 2)];
    let lapse = Budget { lapses: 1, ..NONE };
    for (rule, clients, faults) in [
        (Rule::ReadsLookAtTheLease, TWO, lapse),
        (Rule::LeaseFirst, TWO, lapse),
        (Rule::TrustEndsFirst, TWO, NONE),
        (Rule::NewLeasesAreEmpty, TWO, lapse),
        (Rule::DropsVoidFills, TWO, NONE),
        (Rule::TakersFinishDrops, TWO, NONE),
        (Rule::ReadersFinishDrops, LONG, NONE),
        (Rule::FillAfterDrops, CROWDED, NONE),
        (Rule::WritesDropTheirOwn, CROWDED, NONE),
        (Rule::TicketsOrderActs, CROWDED, NONE),
        (Rule::ConfirmationsCarryTickets, LONG, NONE),
        (Rule::DeafInstancesDoNotRenew, TWO, Budget { deafens: 1, ..NONE }),
    ] {
        let expected = match rule {
            Rule::DeafInstancesDoNotRenew => "nobody waits for ever",
            _ => "reads are linearizable",
        };
        let broken = breaks(Handover { without: Some(rule), ..handover(clients, faults) });
        assert!(broken.contains(&expected), "without {rule:?}: {broken:?}");
    }
}
