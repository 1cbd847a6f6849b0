//! What may go wrong, and what may be left out.

/// How often each thing may go wrong in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) crashes: u8,
    /// A lease runs out by its holder's clock though it renews: a pause, a slow network.
    pub(super) lapses: u8,
    pub(super) losses: u8,
    pub(super) give_ups: u8,
    pub(super) deafens: u8,
}

pub(super) const NONE: Budget = Budget { crashes: 0, lapses: 0, losses: 0, give_ups: 0, deafens: 0 };

/// The rules of the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// A copy is served only while the lease is trusted.
    ReadsLookAtTheLease,
    /// The lease is looked at first, and the copy then.
    LeaseFirst,
    /// A lease is declared dead only after its holder has stopped to trust it (see the model of time).
    TrustEndsFirst,
    /// A new lease starts without copies, and fills of the one before don't reach it.
    NewLeasesAreEmpty,
    /// A request to drop voids the fills that are under way.
    DropsVoidFills,
    /// Who writes, or takes the session over, finishes the drops before it answers.
    TakersFinishDrops,
    /// Who only reads does so too.
    ReadersFinishDrops,
    /// A copy is put in only after the drops are finished.
    FillAfterDrops,
    /// A write drops the writer's own copy before it is sent.
    WritesDropTheirOwn,
    /// An act that overtook, or was overtaken by, another of the same instance is treated as a stranger's.
    TicketsOrderActs,
    /// A confirmation confirms no more than what was dropped when it was sent.
    ConfirmationsCarryTickets,
    /// Only instances that would hear a request to drop renew their lease.
    DeafInstancesDoNotRenew,
}
