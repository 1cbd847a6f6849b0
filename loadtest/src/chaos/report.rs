//! The report: JSON by its `Serialize`, the text by its `Display`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::chaos::checker::{Breach, Claims, Findings, Violation};
use crate::chaos::data::report::DataReport;
use crate::chaos::fault_kind::FaultKind;
use crate::chaos::faults::Fault;
use crate::chaos::ledger::{FailedRequest, Interval, Ledger, Moment};
use crate::chaos::plan::ChaosPlan;
use crate::chaos::run::Repeats;
use crate::output::plots::by_second;

/// How many violations of each kind are described; all are counted.
const EXAMPLES: usize = 5;
/// How many unpromised errors are listed; all are counted.
const UNPROMISED: usize = 20;

/// The result of `loadtest chaos`.
#[derive(Debug, Serialize)]
pub struct ChaosReport {
    /// When the run began.
    pub timestamp: Timestamp,
    /// Seed of the faults and of the clients' choices.
    pub seed: u64,
    /// How long the clients sent requests, seconds.
    pub duration_s: f64,
    /// The session store.
    pub store: String,
    /// Number of clients.
    pub clients: u16,
    /// Whether writes of unknown outcome were repeated under their keys.
    pub idempotency: bool,
    /// Writes that were acknowledged: creates, messages, patches, claims and deletes.
    pub acknowledged: u64,
    /// Acknowledged writes that are gone.
    pub lost: u64,
    /// Writes that were executed twice.
    pub duplicated: u64,
    /// Messages out of their order.
    pub reordered: u64,
    /// Responses with a state older than one that was received before the request was sent.
    pub stale_reads: u64,
    /// Reads that the service marked as unverified.
    pub unverified_reads: u64,
    /// Unverified reads outside of Redis faults.
    pub unverified_outside_faults: u64,
    /// Responses that showed another session's state.
    pub cross_session_reads: u64,
    /// Acts that saw a session after its deletion.
    pub resurrected: u64,
    /// Claims that returned the old id, one with another affinity key, or another than before.
    pub wrong_new_ids: u64,
    /// Acts that saw a session by its old id after its claim.
    pub old_ids_served: u64,
    /// Claimed sessions that live under both ids at the end.
    pub two_live_ids: u64,
    /// Which ids of claimed sessions live at the end.
    claims: Claims,
    /// Claims whose first attempt had an unknown outcome.
    pub claims_repeated: u64,
    /// Messages and patches that no client wrote, or whose write was rejected.
    pub phantoms: u64,
    /// Sessions that could not be read at the end.
    pub unreadable: u64,
    /// Writes of unknown outcome that became known by repeating them.
    pub unknown_resolved: u64,
    /// Writes whose outcome stayed unknown.
    pub unknown: u64,
    /// Requests, repetitions and the final reading included.
    pub requests: u64,
    /// Responses from another instance, since the session's home was over its load bound.
    pub spilled: u64,
    /// How requests failed: a problem's code, `status_<status>`, `connect`, `broken`, `timeout` or
    /// `wrong_response`.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Requests that failed in each second since the run began, until the last one.
    pub errors_by_second: Vec<u64>,
    /// Requests that failed while no fault was injected.
    pub errors_outside_faults: u64,
    /// Requests that failed during an operation: a restart by a drain, scaling, a reload or an
    /// upgrade. None may.
    pub errors_in_operations: u64,
    /// Requests that failed in a way that the runbook's table of failures does not list for the
    /// fault. None may.
    pub errors_unpromised: u64,
    /// The longest time in which a client kept sending and got no good response, milliseconds.
    pub worst_gap_ms: u64,
    /// Products, files and accounts.
    pub data: DataReport,
    /// The injected faults, in order.
    pub faults: Vec<FaultReport>,
    /// The first of `errors_unpromised`.
    pub unpromised: Vec<UnpromisedError>,
    /// The first violations of each kind.
    violations: Vec<Violation>,
}

/// One fault. Times are in milliseconds since the run began.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    /// Its kind.
    pub kind: FaultKind,
    /// The component, instance or setting.
    pub target: String,
    /// When it began.
    pub begin_ms: u64,
    /// When it was undone.
    pub undone_ms: u64,
    /// When the system had recovered.
    pub end_ms: u64,
    /// Requests that failed during it.
    pub errors: u64,
}

/// A request that failed in a way that the runbook's table does not list. Times are in milliseconds
/// since the run began.
#[derive(Debug, Serialize)]
pub struct UnpromisedError {
    /// As in `errors_by_kind`.
    pub error: String,
    /// What was sent, and how it ended, with what leads to its lines in the logs.
    pub request: String,
    /// The faults during which it was in flight.
    pub faults: Vec<FaultKind>,
    /// When it was sent.
    pub begin_ms: u64,
    /// When it failed.
    pub end_ms: u64,
}

/// What a report is made of.
pub(crate) struct Results {
    pub(crate) timestamp: Timestamp,
    pub(crate) store: String,
    pub(crate) duration: Moment,
    pub(crate) repeats: Repeats,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Vec<Fault>,
    pub(crate) findings: Findings,
    pub(crate) data: DataReport,
}

impl ChaosReport {
    pub(crate) fn new(plan: &ChaosPlan, results: Results) -> Self {
        let Results { timestamp, store, duration, repeats, ledger, faults, findings, data } =
            results;
        let mut errors_by_kind = BTreeMap::new();
        for failed in &ledger.errors {
            *errors_by_kind.entry(failed.kind.to_string()).or_default() += 1;
        }
        let errors_in = |fault: Interval| {
            ledger.errors.iter().filter(move |failed| failed.time.overlaps(fault)).count() as u64
        };
        let in_operation = |time: &Interval| {
            let mut operations = faults.iter().filter(|fault| fault.kind.is_operation());
            // A request that was sent during the fault before may fail during this operation.
            operations.any(|fault| fault.time.begin <= time.begin && time.begin <= fault.time.end)
        };
        let mut unpromised: Vec<_> =
            ledger.errors.iter().filter_map(|error| unpromised(error, &faults)).collect();
        unpromised.sort_by_key(|error| error.begin_ms);
        let in_calm = |time: &Interval| !faults.iter().any(|fault| fault.time.overlaps(*time));
        Self {
            timestamp,
            seed: plan.seed,
            duration_s: duration.as_secs_f64(),
            store,
            clients: plan.clients,
            idempotency: repeats == Repeats::UnderTheirKey,
            acknowledged: findings.acknowledged,
            lost: findings.count(Breach::Lost),
            duplicated: findings.count(Breach::Duplicated),
            reordered: findings.count(Breach::Reordered),
            stale_reads: findings.count(Breach::StaleRead),
            unverified_reads: findings.unverified_reads,
            unverified_outside_faults: findings.count(Breach::UnverifiedOutsideFault),
            cross_session_reads: findings.count(Breach::CrossSessionRead),
            resurrected: findings.count(Breach::Resurrected),
            wrong_new_ids: findings.count(Breach::WrongNewId),
            old_ids_served: findings.count(Breach::OldIdServed),
            two_live_ids: findings.count(Breach::TwoLiveIds),
            claims: findings.claims,
            claims_repeated: ledger.claims_unknown,
            phantoms: findings.count(Breach::Phantom),
            unreadable: findings.count(Breach::Unreadable),
            unknown_resolved: ledger.unknown_resolved,
            unknown: findings.unknown,
            requests: ledger.requests,
            spilled: ledger.spilled,
            errors_outside_faults: ledger
                .errors
                .iter()
                .filter(|failed| in_calm(&failed.time))
                .count() as u64,
            errors_in_operations: ledger
                .errors
                .iter()
                .filter(|failed| in_operation(&failed.time))
                // It may still be in flight when the fault after the operation begins.
                .filter(|failed| self::unpromised(failed, &faults).is_some())
                .count() as u64,
            errors_unpromised: unpromised.len() as u64,
            errors_by_kind,
            errors_by_second: by_second(ledger.errors.iter().map(|failed| failed.time.end)),
            worst_gap_ms: millis(findings.worst_gap),
            data,
            faults: faults
                .iter()
                .map(|fault| FaultReport::new(fault, errors_in(fault.time)))
                .collect(),
            unpromised: unpromised.into_iter().take(UNPROMISED).collect(),
            violations: examples(findings.violations),
        }
    }

    /// Whether every guarantee held, and requests failed only as the runbook's table of failures
    /// lists.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
            && self.data.holds()
            && self.errors_in_operations == 0
            && self.errors_unpromised == 0
    }
}

impl ChaosReport {
    /// All counts, by name.
    pub(super) fn counts(&self) -> [(&'static str, u64); 29] {
        [
            ("requests", self.requests),
            ("acknowledged", self.acknowledged),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("stale_reads", self.stale_reads),
            ("unverified_reads", self.unverified_reads),
            ("unverified_outside_faults", self.unverified_outside_faults),
            ("cross_session_reads", self.cross_session_reads),
            ("resurrected", self.resurrected),
            ("wrong_new_ids", self.wrong_new_ids),
            ("old_ids_served", self.old_ids_served),
            ("two_live_ids", self.two_live_ids),
            ("phantoms", self.phantoms),
            ("unreadable", self.unreadable),
            ("unknown_resolved", self.unknown_resolved),
            ("unknown", self.unknown),
            ("claims", self.claims.acknowledged),
            ("claims_unknown", self.claims.unknown),
            ("claims_repeated", self.claims_repeated),
            ("claimed_new_id_lives", self.claims.new_id_lives),
            ("claimed_old_id_lives", self.claims.old_id_lives),
            ("claimed_both_live", self.claims.both_live),
            ("claimed_none_lives", self.claims.none_lives),
            ("spilled", self.spilled),
            ("errors_outside_faults", self.errors_outside_faults),
            ("errors_in_operations", self.errors_in_operations),
            ("errors_unpromised", self.errors_unpromised),
            ("worst_gap_ms", self.worst_gap_ms),
        ]
    }

    /// The result in a sentence.
    pub(super) fn verdict(&self) -> &'static str {
        let is_kept = self.violations.is_empty() && self.data.holds();
        match (is_kept, self.errors_in_operations, self.errors_unpromised) {
            (true, 0, 0) => "Every guarantee held.",
            (true, 0, _) => {
                "Requests failed in ways that the runbook's table of failures does not list."
            }
            (true, ..) => "Requests failed during operations that must not cost a request.",
            (false, ..) => "Guarantees were violated.",
        }
    }

    /// The first violations of each kind.
    pub(super) fn violations(&self) -> impl Iterator<Item = String> {
        let sessions = self.violations.iter().map(ToString::to_string);
        sessions.chain(self.data.examples())
    }
}

impl FaultReport {
    fn new(fault: &Fault, errors: u64) -> Self {
        let Fault { kind, target, time, undone } = fault.clone();
        let (begin_ms, undone_ms, end_ms) = (millis(time.begin), millis(undone), millis(time.end));
        Self { kind, target, begin_ms, undone_ms, end_ms, errors }
    }
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, duration_s, store, clients, .. } = self;
        writeln!(f, "store {store}, {clients} clients, {duration_s:.1} s, seed {seed}\n")?;
        let mut faults: BTreeMap<FaultKind, (u64, u64)> = BTreeMap::new();
        for fault in &self.faults {
            let (count, errors) = faults.entry(fault.kind).or_default();
            *count += 1;
            *errors += fault.errors;
        }
        for (kind, (count, errors)) in faults {
            writeln!(f, "fault {:<20}{count} ×, {errors} requests failed", kind.as_str())?;
        }
        for (name, count) in self.counts() {
            writeln!(f, "{name:<26}{count}")?;
        }
        for (name, count) in self.data.counts() {
            writeln!(f, "{name:<26}{count}")?;
        }
        for (kind, count) in &self.errors_by_kind {
            writeln!(f, "error {kind:<32}{count}")?;
        }
        for UnpromisedError { error, request, faults, begin_ms, end_ms } in &self.unpromised {
            let faults: Vec<_> = faults.iter().map(|fault| fault.as_str()).collect();
            writeln!(
                f,
                "unpromised {error} in {}, from {begin_ms} to {end_ms} ms: {request}",
                faults.join(" and ")
            )?;
        }
        let is_violated = !self.violations.is_empty() || !self.data.holds();
        let first = if is_violated { " The first cases:" } else { "" };
        writeln!(f, "\n{}{first}", self.verdict())?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "  {violation}"))?;
        self.data.examples().try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}

/// The error, if none of the faults during which it was in flight may cause it.
fn unpromised(failed: &FailedRequest, faults: &[Fault]) -> Option<UnpromisedError> {
    let FailedRequest { time, kind, .. } = failed;
    let met: Vec<_> =
        faults.iter().filter(|fault| fault.time.overlaps(*time)).map(|fault| fault.kind).collect();
    if met.is_empty()
        || met.iter().any(|fault| fault.allows(*kind, time.end.saturating_sub(time.begin)))
    {
        return None;
    }
    let (begin_ms, end_ms) = (millis(time.begin), millis(time.end));
    let (error, request) = (kind.to_string(), format!("{}: {}", failed.request, failed.end));
    Some(UnpromisedError { error, request, faults: met, begin_ms, end_ms })
}

fn examples(violations: Vec<Violation>) -> Vec<Violation> {
    let mut counts: BTreeMap<Breach, usize> = BTreeMap::new();
    let mut is_early = |violation: &Violation| {
        let count = counts.entry(violation.breach).or_default();
        *count += 1;
        *count <= EXAMPLES
    };
    violations.into_iter().filter(|violation| is_early(violation)).collect()
}

fn millis(time: Moment) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
