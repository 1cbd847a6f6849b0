//! The faults, and the rules that can be left out.

/// The number of faults of each kind in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) crashes: u8,
    /// A lease expires by its holder's clock in spite of renewals: a pause, a slow network.
    pub(super) expiries: u8,
    pub(super) losses: u8,
    pub(super) give_ups: u8,
    pub(super) disconnects: u8,
}

pub(super) const NONE: Budget =
    Budget { crashes: 0, expiries: 0, losses: 0, give_ups: 0, disconnects: 0 };

/// The rules of the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// A copy is served only while the lease is trusted.
    ReadsCheckTheLease,
    /// The lease is checked before the copy is looked up.
    LeaseFirst,
    /// A lease is declared dead only after its holder has stopped trusting it (see the model of
    /// time).
    TrustEndsFirst,
    /// A new lease starts without copies, and operations under the previous one cannot commit to
    /// it.
    NewLeasesAreEmpty,
    /// A drop request voids the reservations of operations in flight.
    DropsVoidReservations,
    /// An operation that writes or takes the session over waits for the drops before its response.
    TakersFinishDrops,
    /// A plain read does so, too.
    ReadersFinishDrops,
    /// A copy is committed only after the drops are finished.
    CommitAfterDrops,
    /// A write drops the sender's own copy before it is sent.
    WritesDropTheirOwn,
    /// Operations of one instance that are executed out of order are treated like those of
    /// different instances.
    TicketsOrderActs,
    /// A confirmation covers only what was dropped when it was sent.
    ConfirmationsCarryTickets,
    /// Only instances that would receive a drop request renew their lease.
    DisconnectedInstancesDoNotRenew,
}
