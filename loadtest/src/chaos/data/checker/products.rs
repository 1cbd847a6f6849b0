//! Checks one product: its price, its stock, and whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::{Facts, Oldest};
use super::timeline::Timeline;
use super::violation::{Breach, Violation};
use crate::chaos::data::ledger::{
    Act, Audited, Entry, Name, Outcome, ProductNumber, ProductSeen, Seen,
};
use crate::chaos::ledger::Moment;

/// A response that showed a product.
struct Shown<'a> {
    entry: &'a Entry,
    seen: ProductSeen,
}

/// What is known of one product.
struct Product<'a> {
    facts: &'a Facts<'a>,
    subject: String,
    number: ProductNumber,
    entries: &'a [&'a Entry],
    /// The first stock, and the act that added it.
    created: Option<(i32, &'a Entry)>,
    shown: Vec<Shown<'a>>,
    /// The price before a moment, at least.
    least_price: Timeline,
    /// The price at a moment, at most.
    most_price: Timeline,
    /// The units that were taken before a moment, at least.
    least_taken: Timeline,
    /// The units that were taken at a moment, at most.
    most_taken: Timeline,
    /// Since when it is gone.
    gone: Option<Moment>,
}

/// Checks all acts on a product: `entries`, with the lists that show it or could.
pub(super) fn check(
    facts: &Facts<'_>,
    number: ProductNumber,
    entries: &[&Entry],
    oldest: &mut Oldest,
    violations: &mut Vec<Violation>,
) {
    let product = Product::new(facts, number, entries);
    product.check_shown(oldest, violations);
    product.check_absent(violations);
    product.check_reservations(violations);
    product.check_end(violations);
    if let Some(audit) = facts.audit {
        product.check_audit(audit, violations);
    }
}

impl<'a> Product<'a> {
    fn new(facts: &'a Facts<'a>, number: ProductNumber, entries: &'a [&'a Entry]) -> Self {
        let created = entries.iter().find_map(|entry| match entry.act {
            Act::CreateProduct { stock, .. } => Some((stock, *entry)),
            _ => None,
        });
        let shown: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let seen = match entry.seen()? {
                    Seen::Product(seen) => *seen,
                    Seen::Products { shown, .. } => {
                        shown.iter().find(|(shown, _)| *shown == number)?.1
                    }
                    _ => return None,
                };
                Some(Shown { entry, seen })
            })
            .collect();
        let initial = created.map_or(0, |(stock, _)| stock);
        let prices = |is_known: fn(&Entry) -> bool, at: fn(&Entry) -> Moment| {
            let price = move |entry: &&Entry| match entry.act {
                Act::ChangeProduct { price, .. } if is_known(entry) => {
                    Some((at(entry), i64::from(price)))
                }
                _ => None,
            };
            entries.iter().filter_map(price).collect::<Vec<_>>()
        };
        let taken = |is_known: fn(&Entry) -> bool, at: fn(&Entry) -> Moment| {
            let quantity = move |entry: &&Entry| match entry.act {
                Act::Reserve { quantity, .. } if is_known(entry) => {
                    Some((at(entry), i64::from(quantity)))
                }
                _ => None,
            };
            Timeline::of_sums(entries.iter().filter_map(quantity).collect())
        };
        let is_done = |entry: &Entry| entry.seen().is_some();
        let (begin, end) = (|entry: &Entry| entry.time.begin, |entry: &Entry| entry.time.end);
        let mut least_price = prices(is_done, end);
        let mut least_taken = taken(is_done, end).into_steps();
        // What one reader saw, all later ones must see.
        for Shown { entry, seen } in &shown {
            least_price.push((entry.time.end, seen.price.into()));
            least_taken.push((entry.time.end, i64::from(initial) - i64::from(seen.stock)));
        }
        let mut most_price = prices(Entry::may_be_done, begin);
        most_price.push((Moment::ZERO, 0));
        let is_delete = |entry: &&&Entry| matches!(entry.act, Act::DeleteProduct(_));
        let deletes = entries.iter().filter(is_delete);
        let gone = deletes.filter(|entry| is_done(entry)).map(|entry| entry.time.end).min();
        Self {
            facts,
            subject: format!("product {number}"),
            number,
            entries,
            created,
            shown,
            least_price: Timeline::of_highest(least_price),
            most_price: Timeline::of_highest(most_price),
            least_taken: Timeline::of_highest(least_taken),
            most_taken: taken(Entry::may_be_done, begin),
            gone,
        }
    }

    fn found(&self, breach: Breach, entry: &Entry, what: String) -> Violation {
        Violation::new(breach, &self.subject, entry, what)
    }

    fn check_shown(&self, oldest: &mut Oldest, violations: &mut Vec<Violation>) {
        let initial = self.created.map_or(0, |(stock, _)| i64::from(stock));
        let refused: BTreeSet<u32> = self
            .entries
            .iter()
            .filter(|entry| !entry.may_be_done())
            .filter_map(|entry| match entry.act {
                Act::ChangeProduct { price, .. } => Some(price),
                _ => None,
            })
            .collect();
        for Shown { entry, seen } in &self.shown {
            let ProductSeen { price, stock } = *seen;
            let taken = initial - i64::from(stock);
            let allowed = self.facts.allowed_age(entry);
            let since = entry.time.begin.saturating_sub(allowed);
            let mut found = |breach, what| violations.push(self.found(breach, entry, what));
            let least = self.least_price.before(since);
            if least.is_some_and(|least| i64::from(price) < least) {
                let least = least.unwrap_or_default();
                found(
                    Breach::Stale,
                    format!("price {price}, after {least} (allowed: {allowed:?})"),
                );
            }
            let least = self.least_taken.before(since);
            if least.is_some_and(|least| taken < least) {
                let least = initial - least.unwrap_or_default();
                found(
                    Breach::Stale,
                    format!("stock {stock}, after {least} (allowed: {allowed:?})"),
                );
            }
            if i64::from(price) > self.most_price.at(entry.time.end).unwrap_or_default()
                || refused.contains(&price)
            {
                found(Breach::Phantom, format!("price {price}, which no client set"));
            }
            let most = self.most_taken.at(entry.time.end).unwrap_or_default();
            if taken > most {
                let least = initial - most;
                found(
                    Breach::Doubled,
                    format!("stock {stock}; reservations leave {least} or more"),
                );
            }
            if stock < 0 || taken < 0 {
                found(Breach::WrongStock, format!("stock {stock} of {initial}"));
            }
            let set = match entry.act {
                Act::ChangeProduct { price, .. } => Some(price),
                Act::CreateProduct { .. } => Some(0),
                _ => None,
            };
            if set.is_some_and(|set| set != price) {
                found(Breach::Stale, format!("the response to a change to {set:?} shows {price}"));
            }
            let gone = self.gone.filter(|gone| *gone < since);
            if gone.is_some() && !entry.act.is_write() {
                found(Breach::Resurrected, "was shown after its deletion".to_owned());
            }
            if entry.is_copy {
                let begin = entry.time.begin;
                let ages = [
                    self.least_price.age(price.into(), begin),
                    self.least_taken.age(taken, begin),
                    self.gone.map_or(Duration::ZERO, |gone| begin.saturating_sub(gone)),
                ];
                oldest.copies += 1;
                oldest.age = ages.into_iter().fold(oldest.age, Duration::max);
            }
        }
        let Some(gone) = self.gone else { return };
        for entry in self.entries.iter().filter(|entry| entry.act.is_write()) {
            if entry.seen().is_some() && entry.time.begin > gone {
                let what = format!("a {} succeeded after its deletion", entry.act.as_str());
                violations.push(self.found(Breach::Resurrected, entry, what));
            }
        }
    }

    /// It must be there from the response to its creation until its deletion begins.
    fn check_absent(&self, violations: &mut Vec<Violation>) {
        let Some((_, create)) = self.created.filter(|(_, create)| create.seen().is_some()) else {
            return;
        };
        let is_delete =
            |entry: &Entry| matches!(entry.act, Act::DeleteProduct(_)) && entry.may_be_done();
        let deletes = self.entries.iter().filter(|entry| is_delete(entry));
        let deleted = deletes.map(|entry| entry.time.begin).min();
        for entry in self.entries {
            let is_missing = match &entry.outcome {
                Outcome::Absent => true,
                Outcome::Done(Seen::Products { shown, is_all: true }) => {
                    shown.iter().all(|(shown, _)| *shown != self.number)
                }
                _ => false,
            };
            let since = entry.time.begin.saturating_sub(self.facts.allowed_age(entry));
            let must_be =
                create.time.end < since && deleted.is_none_or(|deleted| entry.time.end < deleted);
            if is_missing && must_be {
                let what = format!("a {} found no such product", entry.act.as_str());
                violations.push(self.found(Breach::Lost, entry, what));
            }
        }
    }

    fn check_reservations(&self, violations: &mut Vec<Violation>) {
        let initial = self.created.map_or(0, |(stock, _)| i64::from(stock));
        let mut ids: BTreeSet<&str> = BTreeSet::new();
        let mut taken = 0;
        for entry in self.entries {
            let Act::Reserve { quantity, .. } = entry.act else { continue };
            match &entry.outcome {
                Outcome::Done(Seen::Reserved(id)) => {
                    taken += i64::from(quantity);
                    if !ids.insert(id) {
                        let what = format!("reservation {id} was given to two requests");
                        violations.push(self.found(Breach::Doubled, entry, what));
                    }
                    if taken > initial {
                        let what = format!("{taken} units of {initial} were reserved");
                        violations.push(self.found(Breach::WrongStock, entry, what));
                    }
                }
                Outcome::OutOfStock => {
                    let most = self.most_taken.at(entry.time.end).unwrap_or_default();
                    if initial - most >= i64::from(quantity) {
                        let least = initial - most;
                        let what =
                            format!("{quantity} units were denied; {least} or more were left");
                        violations.push(self.found(Breach::WrongStock, entry, what));
                    }
                }
                _ => {}
            }
        }
    }

    /// At the end it was read, or found to be gone, everywhere.
    fn check_end(&self, violations: &mut Vec<Violation>) {
        let reads = self.entries.iter().filter(|entry| {
            matches!(entry.act, Act::ReadProduct(_)) && entry.time.begin >= self.facts.settled
        });
        for entry in reads {
            if !matches!(entry.outcome, Outcome::Done(_) | Outcome::Absent) {
                let what = "could not be read at the end".to_owned();
                violations.push(self.found(Breach::Unreadable, entry, what));
            }
        }
    }

    fn check_audit(&self, audit: &[Audited], violations: &mut Vec<Violation>) {
        let mut found = |breach, what| {
            let settled = self.facts.settled;
            violations.push(Violation::in_audit(breach, &self.subject, settled, what));
        };
        let mut changes: BTreeMap<u32, usize> = BTreeMap::new();
        let (mut created, mut deleted) = (0, 0);
        let mut reserved: BTreeMap<&str, (i32, &Name)> = BTreeMap::new();
        for entry in audit {
            match entry {
                Audited::Created(product) if *product == self.number => created += 1,
                Audited::Deleted(product) if *product == self.number => deleted += 1,
                Audited::Changed { product, price } if *product == self.number => {
                    *changes.entry(*price).or_default() += 1;
                }
                Audited::Reserved { product, quantity, user, id }
                    if *product == self.number
                        && reserved.insert(id, (*quantity, user)).is_some() =>
                {
                    found(Breach::Doubled, format!("reservation {id} is recorded twice"));
                }
                _ => {}
            }
        }
        let taken: i64 = reserved.values().map(|(quantity, _)| i64::from(*quantity)).sum();
        let mut unknown: Vec<(i32, &Name)> = Vec::new();
        for entry in self.entries {
            let is_done = entry.seen().is_some();
            let what = entry.act.as_str();
            let count = match &entry.act {
                Act::CreateProduct { .. } => created,
                Act::ChangeProduct { price, .. } => changes.remove(price).unwrap_or_default(),
                // A second delete finds nothing.
                Act::DeleteProduct(_) if entry.may_be_done() => deleted,
                Act::Reserve { quantity, user, .. } => {
                    match &entry.outcome {
                        Outcome::Done(Seen::Reserved(id))
                            if reserved.remove(&**id) != Some((*quantity, user)) =>
                        {
                            found(Breach::Lost, format!("reservation {id} is not recorded"));
                        }
                        Outcome::Unknown => unknown.push((*quantity, user)),
                        _ => {}
                    }
                    continue;
                }
                _ => continue,
            };
            match (count, &entry.outcome) {
                (0, _) if is_done => found(Breach::Lost, format!("no entry of a {what}")),
                (0, _) => {}
                (1, _) if entry.may_be_done() => {}
                (1, _) => found(Breach::Phantom, format!("an entry of a rejected {what}")),
                (_, _) => found(Breach::Doubled, format!("{count} entries of one {what}")),
            }
        }
        for (price, _) in changes {
            found(Breach::Phantom, format!("an entry of a price {price}, which no client set"));
        }
        for (id, of) in reserved {
            // What had no response may have been executed, once.
            match unknown.iter().position(|unknown| *unknown == of) {
                Some(place) => drop(unknown.swap_remove(place)),
                None => found(Breach::Doubled, format!("nobody made reservation {id}")),
            }
        }
        let Some((stock, _)) = self.created else { return };
        let left = i64::from(stock) - taken;
        for Shown { entry, seen } in &self.shown {
            let is_last = entry.time.begin >= self.facts.settled && !entry.is_copy;
            if is_last && i64::from(seen.stock) != left {
                let shown = seen.stock;
                let what = format!("stock {shown}; its reservations leave {left} of {stock}");
                violations.push(self.found(Breach::WrongStock, entry, what));
            }
        }
    }
}
