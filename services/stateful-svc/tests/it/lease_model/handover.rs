//! Handovers of one session between two or three instances with a client each.
//!
//! Each operation on Redis is one atomic script (`Step::Execute`) with a mark: the sender's lease
//! and a fencing *ticket*, drawn for each operation. Redis keeps the `holder` (the mark whose copy
//! may be served) and the `drops` (marks whose copies may still exist). Messages are lost, late and
//! reordered. An operation whose client has given up may still be executed at any later time.
//! Instances crash, pause and lose their leases.

mod fault;
mod instance;
mod redis;

use stateright::{Model, Property};

use super::{assert_holds, violations};
use fault::{Budget, NONE, Rule};
use instance::Kind::{
    RoundRobinRead, RoundRobinRepeat, RoundRobinWrite, StickyRead, StickyRepeat, StickyWrite,
};
use instance::{Client, Instance, Kind, Stage};
use redis::{Operation, Redis};

/// A configuration of the model.
struct Handover {
    instances: usize,
    /// For each client, its instance and its number of requests.
    clients: &'static [(usize, u8)],
    /// The kinds of requests.
    kinds: &'static [Kind],
    faults: Budget,
    without: Option<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    redis: Redis,
    instances: Vec<Instance>,
    clients: Vec<Client>,
    /// Operations in flight whose clients have given up; Redis may still execute them.
    late: Vec<Operation>,
    /// Drop requests in flight, by lease.
    requested: Vec<u8>,
    /// Confirmations in flight: the lease, and the newest ticket whose copy is gone.
    confirmed: Vec<(u8, u8)>,
    /// The newest version that any client has seen.
    known: u8,
    faults: Budget,
    /// A client has read an older version than was known at its request.
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The client sends a request; a sticky read checks the lease.
    Begin(usize, Kind),
    /// A sticky read with a trusted lease looks up the copy.
    LookUp(usize),
    /// Redis executes the operation.
    Execute(usize),
    /// The instance reads the remaining drops from Redis.
    Check(usize),
    /// The client gets its response.
    Respond(usize),
    /// An instance that waits for drops sends a request to the lease's holder.
    Request(u8),
    /// A drop request arrives.
    Drop(u8),
    /// A confirmation is executed.
    Confirm(u8),
    /// The lease is declared dead: its holder has not renewed it for long enough.
    DeclareDead(u8),
    /// A drop is confirmed on behalf of a dead lease.
    ConfirmForDead(u8),
    /// By the instance's clock, its lease has expired.
    Expire(usize),
    /// The lease is renewed.
    Renew(usize),
    /// The instance finds that its lease is dead.
    Learn(usize),
    /// The instance takes a new lease.
    Take(usize),
    /// Redis executes an operation whose client has given up.
    ExecuteLate(usize),
    /// A drop request, or a confirmation, is lost.
    LoseRequest(u8),
    LoseConfirmation(u8),
    /// The client gives up, in any stage.
    GiveUp(usize),
    /// The instance crashes and restarts without memory.
    Crash(usize),
    /// The subscription to drop requests breaks, until a new lease.
    Disconnect(usize),
}

impl Handover {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Steps that happen eventually.
    fn progress(&self, state: &State, steps: &mut Vec<Step>) {
        for (c, client) in state.clients.iter().enumerate() {
            match &client.stage {
                Stage::Idle if client.left > 0 => {
                    steps.extend(self.kinds.iter().map(|kind| Step::Begin(c, *kind)));
                }
                Stage::Idle => {}
                Stage::Checked { .. } | Stage::Found { .. } => steps.push(Step::LookUp(c)),
                Stage::Sent { .. } => steps.push(Step::Execute(c)),
                Stage::Settling { operation, .. } if self.settles(operation) => {
                    if state.redis.drops.is_empty() {
                        steps.push(Step::Check(c));
                    }
                    for (lease, _) in &state.redis.drops {
                        self.finish_drop(state, *lease, steps);
                    }
                }
                Stage::Settling { .. } => steps.push(Step::Check(c)),
                Stage::Settled { .. } => steps.push(Step::Respond(c)),
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            match instance.lease {
                None => steps.push(Step::Take(i)),
                Some(lease) if state.redis.dead.contains(&lease) => steps.push(Step::Learn(i)),
                // Without renewals the lease expires.
                Some(_) if instance.trusted && !self.renews(instance) => {
                    steps.push(Step::Expire(i))
                }
                Some(_) if !instance.trusted && self.renews(instance) => steps.push(Step::Renew(i)),
                Some(_) => {}
            }
        }
        steps.extend(state.requested.iter().map(|lease| Step::Drop(*lease)));
        steps.extend(state.confirmed.iter().map(|(lease, _)| Step::Confirm(*lease)));
    }

    fn finish_drop(&self, state: &State, lease: u8, steps: &mut Vec<Step>) {
        let in_flight =
            state.requested.contains(&lease) || state.confirmed.iter().any(|(of, _)| *of == lease);
        let step = match () {
            () if state.redis.dead.contains(&lease) => Step::ConfirmForDead(lease),
            () if in_flight => return,
            () if self.is_connected(state, lease) => Step::Request(lease),
            () if !self.is_trusted(state, lease) => Step::DeclareDead(lease),
            () => return,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }

    /// Steps that may happen.
    fn faults(&self, state: &State, steps: &mut Vec<Step>) {
        for (c, client) in state.clients.iter().enumerate() {
            if client.stage != Stage::Idle && state.faults.give_ups > 0 {
                steps.push(Step::GiveUp(c));
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            if state.faults.crashes > 0 {
                steps.push(Step::Crash(i));
            }
            if state.faults.disconnects > 0 && !instance.disconnected {
                steps.push(Step::Disconnect(i));
            }
            if instance.lease.is_some() && instance.trusted && state.faults.expiries > 0 {
                steps.push(Step::Expire(i));
            }
        }
        for (lease, _) in &state.redis.drops {
            if !state.redis.dead.contains(lease) && !self.is_trusted(state, *lease) {
                steps.push(Step::DeclareDead(*lease));
            }
        }
        steps.extend((0..state.late.len()).map(Step::ExecuteLate));
        if state.faults.losses > 0 {
            steps.extend(state.requested.iter().map(|lease| Step::LoseRequest(*lease)));
            steps.extend(state.confirmed.iter().map(|(lease, _)| Step::LoseConfirmation(*lease)));
        }
    }

    fn settles(&self, operation: &Operation) -> bool {
        match operation.kind {
            Kind::RoundRobinRead => self.has(Rule::ReadersFinishDrops),
            _ => self.has(Rule::TakersFinishDrops),
        }
    }

    fn renews(&self, instance: &Instance) -> bool {
        !instance.disconnected || !self.has(Rule::DisconnectedInstancesDoNotRenew)
    }

    fn is_connected(&self, state: &State, lease: u8) -> bool {
        state
            .instances
            .iter()
            .any(|instance| instance.lease == Some(lease) && !instance.disconnected)
    }

    fn is_trusted(&self, state: &State, lease: u8) -> bool {
        self.has(Rule::TrustEndsFirst)
            && state
                .instances
                .iter()
                .any(|instance| instance.lease == Some(lease) && instance.trusted)
    }
}

impl State {
    /// A client reads a version; `known` is the newest version known at its request.
    fn show(&mut self, version: u8, known: u8) {
        self.stale |= version < known;
        self.known = self.known.max(version);
    }

    fn unfinished(&self) -> bool {
        self.clients.iter().any(|client| client.stage != Stage::Idle || client.left > 0)
    }

    fn request(&mut self, lease: u8) {
        if !self.requested.contains(&lease) {
            self.requested.push(lease);
            self.requested.sort_unstable();
        }
    }

    fn confirm(&mut self, lease: u8, ticket: u8) {
        // An older confirmation in flight stays; this one is then requested again.
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
        let (late, requested, confirmed) = (Vec::new(), Vec::new(), Vec::new());
        let clients =
            self.clients.iter().map(|(at, requests)| Client::new(*at, *requests)).collect();
        let (redis, faults) = (Redis::default(), self.faults);
        vec![State {
            redis,
            instances,
            clients,
            late,
            requested,
            confirmed,
            known: 0,
            faults,
            stale: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        // A violation ends the run.
        if !state.stale && state.unfinished() {
            self.progress(state, steps);
            self.faults(state, steps);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        match step {
            Step::Begin(c, kind) => instance::begin(self, &mut next, c, kind),
            Step::LookUp(c) => instance::look_up(self, &mut next, c)?,
            Step::Execute(c) => instance::execute(self, &mut next, c)?,
            Step::Check(c) => instance::check(&mut next, c)?,
            Step::Respond(c) => instance::respond(self, &mut next, c)?,
            Step::Request(lease) => next.request(lease),
            Step::Drop(lease) => {
                next.requested.retain(|of| *of != lease);
                let instance = next
                    .instances
                    .iter_mut()
                    .find(|it| it.lease == Some(lease) && !it.disconnected);
                if let Some(instance) = instance {
                    instance.drop_copy(self.has(Rule::DropsVoidReservations));
                    let ticket = instance.ticket;
                    next.confirm(lease, ticket);
                }
            }
            Step::Confirm(lease) => {
                let at = last.confirmed.iter().position(|(of, _)| *of == lease)?;
                let (_, ticket) = next.confirmed.remove(at);
                let ticket =
                    if self.has(Rule::ConfirmationsCarryTickets) { ticket } else { u8::MAX };
                next.redis.confirm(lease, ticket);
            }
            Step::DeclareDead(lease) => next.redis.declare_dead(lease),
            Step::ConfirmForDead(lease) => next.redis.confirm(lease, u8::MAX),
            Step::Expire(i) => {
                next.instances[i].trusted = false;
                if self.renews(&last.instances[i]) {
                    next.faults.expiries -= 1;
                }
            }
            Step::Renew(i) => next.instances[i].trusted = true,
            Step::Learn(i) => next.instances[i].learn(),
            Step::Take(i) => next.instances[i].take(self.has(Rule::NewLeasesAreEmpty)),
            Step::ExecuteLate(at) => {
                let operation = next.late.remove(at);
                next.redis.execute(&operation, self.has(Rule::TicketsOrderActs));
            }
            Step::LoseRequest(lease) => {
                next.requested.retain(|of| *of != lease);
                next.faults.losses -= 1;
            }
            Step::LoseConfirmation(lease) => {
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
            Step::Disconnect(i) => {
                next.instances[i].disconnected = true;
                next.faults.disconnects -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("reads are linearizable", |_, state: &State| !state.stale),
            Property::always("no request waits forever", |model: &Self, state: &State| {
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
    assert_holds(handover(TWO, Budget { give_ups: 1, ..NONE }));
}

#[test]
fn two_instances_whose_messages_are_lost() {
    assert_holds(handover(TWO, Budget { losses: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_crashes() {
    assert_holds(handover(TWO, Budget { crashes: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_pauses() {
    assert_holds(handover(TWO, Budget { expiries: 1, ..NONE }));
}

#[test]
fn two_instances_one_of_which_is_disconnected() {
    assert_holds(handover(TWO, Budget { disconnects: 1, ..NONE }));
}

/// A repetition drops no copy, and its response is never stale.
#[test]
fn two_instances_and_writes_that_are_repeated() {
    let kinds = &[StickyRead, StickyWrite, RoundRobinWrite, StickyRepeat, RoundRobinRepeat];
    assert_holds(Handover { kinds, ..handover(TWO, Budget { give_ups: 1, ..NONE }) });
    assert_holds(Handover { kinds, ..handover(TWO, Budget { expiries: 1, ..NONE }) });
}

#[test]
fn two_clients_of_one_instance_and_one_of_another() {
    assert_holds(handover(&[(0, 2), (0, 1), (1, 1)], NONE));
}

#[test]
fn three_instances() {
    assert_holds(handover(&[(0, 2), (1, 1), (2, 1)], NONE));
}

/// Eleven million states; two minutes.
#[test]
#[ignore = "it takes minutes; run it when the protocol changes"]
fn two_clients_of_one_instance_and_one_of_another_for_longer() {
    let kinds = &[StickyRead, StickyWrite, RoundRobinWrite];
    assert_holds(Handover { kinds, ..handover(&[(0, 2), (0, 2), (1, 2)], NONE) });
}

#[test]
fn no_rule_of_the_handover_can_be_left_out() {
    const LONG: &[(usize, u8)] = &[(0, 3), (1, 3)];
    const CROWDED: &[(usize, u8)] = &[(0, 2), (0, 2), (1, 2)];
    let expiry = Budget { expiries: 1, ..NONE };
    for (rule, clients, faults) in [
        (Rule::ReadsCheckTheLease, TWO, expiry),
        (Rule::LeaseFirst, TWO, expiry),
        (Rule::TrustEndsFirst, TWO, NONE),
        (Rule::NewLeasesAreEmpty, TWO, expiry),
        (Rule::DropsVoidReservations, TWO, NONE),
        (Rule::TakersFinishDrops, TWO, NONE),
        (Rule::ReadersFinishDrops, LONG, NONE),
        (Rule::CommitAfterDrops, CROWDED, NONE),
        (Rule::WritesDropTheirOwn, CROWDED, NONE),
        (Rule::TicketsOrderActs, CROWDED, NONE),
        (Rule::ConfirmationsCarryTickets, LONG, NONE),
        (Rule::DisconnectedInstancesDoNotRenew, TWO, Budget { disconnects: 1, ..NONE }),
    ] {
        let expected = match rule {
            Rule::DisconnectedInstancesDoNotRenew => "no request waits forever",
            _ => "reads are linearizable",
        };
        let broken = violations(Handover { without: Some(rule), ..handover(clients, faults) });
        assert!(broken.contains(&expected), "without {rule:?}: {broken:?}");
    }
}
