//! Checks one user who registered during the run.

use super::facts::{Facts, account};
use super::violation::{Breach, Violation};
use crate::chaos::data::ledger::{Act, Audited, Entry, Name, Outcome};

/// Checks all acts on an account.
pub(super) fn check(
    facts: &Facts<'_>,
    name: &Name,
    entries: &[&Entry],
    violations: &mut Vec<Violation>,
) {
    let subject = format!("user {name}");
    let Some(registered) = entries.iter().find(|entry| matches!(entry.act, Act::Register(_)))
    else {
        return;
    };
    for entry in entries {
        let is_after = registered.seen().is_some() && registered.time.end < entry.time.begin;
        let act = entry.act.as_str();
        // With its own password, a login is refused only if there is no such user.
        if is_after && entry.outcome == Outcome::Absent {
            let what = format!("a {act} found no such user");
            violations.push(Violation::new(Breach::Lost, &subject, entry, what));
        }
        let is_last = entry.time.begin >= facts.settled && matches!(entry.act, Act::FindUser(_));
        if is_last && !matches!(entry.outcome, Outcome::Done(_) | Outcome::Absent) {
            let what = "could not be looked up at the end".to_owned();
            violations.push(Violation::new(Breach::Unreadable, &subject, entry, what));
        }
    }
    if let Some(audit) = facts.audit {
        let of = Audited::Registered(name.clone());
        let count = audit.iter().filter(|entry| **entry == of).count();
        violations.extend(
            account(registered, count)
                .map(|(breach, what)| Violation::in_audit(breach, &subject, facts.settled, what)),
        );
    }
}
