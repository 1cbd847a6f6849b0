//! Each kind of violation is found, and nothing that an unknown outcome or an overlap explains.

use std::time::Duration;

use super::*;
use crate::chaos::data::ledger::{Audited, FileSeen, Outcome, ProductSeen, Via};
use crate::chaos::ledger::Interval;

const STOCK: i32 = 10;
/// When clients have stopped, in seconds.
const SETTLED: u64 = 1_000;

/// A ledger under construction. Times are in seconds.
#[derive(Default)]
struct History {
    entries: Vec<Entry>,
    audit: Vec<Audited>,
    faults: Vec<Interval>,
}

fn interval(begin: u64, end: u64) -> Interval {
    Interval { begin: Duration::from_secs(begin), end: Duration::from_secs(end) }
}

fn product(price: u32, stock: i32) -> Outcome {
    Outcome::Done(Seen::Product(ProductSeen { price, stock }))
}

fn file(id: &str, number: FileNumber) -> FileSeen {
    FileSeen { id: id.to_owned(), file: number, is_intact: true }
}

fn ada() -> Name {
    "ada".into()
}

fn reserve(quantity: i32) -> Act {
    Act::Reserve { product: 1, quantity, user: ada() }
}

fn reserved(id: &str) -> Outcome {
    Outcome::Done(Seen::Reserved(id.to_owned()))
}

fn upload() -> Act {
    Act::Upload { file: 7, owner: ada() }
}

impl History {
    /// With one product in stock.
    fn of_product() -> Self {
        Self::default()
            .act(0, 1, Act::CreateProduct { product: 1, stock: STOCK }, product(0, STOCK))
            .audited(Audited::Created(1))
    }

    /// With one file.
    fn of_file() -> Self {
        Self::default()
            .act(0, 1, upload(), Outcome::Done(Seen::File(file("a", 7))))
            .audited(Audited::Uploaded(7))
    }

    fn act(mut self, begin: u64, end: u64, act: Act, outcome: Outcome) -> Self {
        let (via, time) = (Via::Gateway, interval(begin, end));
        self.entries.push(Entry { via, time, act, outcome, is_copy: false });
        self
    }

    fn change(self, begin: u64, end: u64, price: u32, outcome: Outcome) -> Self {
        self.act(begin, end, Act::ChangeProduct { product: 1, price }, outcome)
    }

    fn read(self, begin: u64, end: u64, outcome: Outcome) -> Self {
        self.act(begin, end, Act::ReadProduct(1), outcome)
    }

    /// A copy of Nginx's cache.
    fn copy(self, begin: u64, end: u64, outcome: Outcome) -> Self {
        let mut history = self.read(begin, end, outcome);
        history.entries.iter_mut().next_back().expect("the read").is_copy = true;
        history
    }

    fn audited(mut self, entry: Audited) -> Self {
        self.audit.push(entry);
        self
    }

    fn reservation(self, quantity: i32, id: &str) -> Self {
        self.audited(Audited::Reserved { product: 1, quantity, user: ada(), id: id.to_owned() })
    }

    fn findings(&self) -> Findings {
        let settled = Duration::from_secs(SETTLED);
        let Self { entries, audit, faults } = self;
        check(Facts { entries, audit: Some(audit), settled, faults })
    }

    /// The violations are these, in the order of their kinds.
    #[track_caller]
    fn assert(&self, expected: &[Breach]) {
        let findings = self.findings();
        let mut found: Vec<_> = findings.violations.iter().map(|found| found.breach).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{:#?}", findings.violations);
    }
}

#[test]
fn a_product_that_is_changed_and_reserved_is_as_it_should_be() {
    History::of_product()
        .change(2, 3, 1, product(1, STOCK))
        .audited(Audited::Changed { product: 1, price: 1 })
        .act(4, 6, reserve(3), reserved("a"))
        .reservation(3, "a")
        // Overlaps the reservation: either stock will do.
        .read(5, 7, product(1, STOCK))
        .read(5, 6, product(1, STOCK - 3))
        .act(8, 9, reserve(8), Outcome::OutOfStock)
        .read(1_001, 1_002, product(1, STOCK - 3))
        .assert(&[]);
}

#[test]
fn an_old_price_or_stock_is_stale() {
    let changed = || {
        History::of_product()
            .change(2, 3, 1, product(1, STOCK))
            .audited(Audited::Changed { product: 1, price: 1 })
    };
    changed().read(4, 5, product(0, STOCK)).assert(&[Breach::Stale]);
    changed().read(3, 5, product(0, STOCK)).assert(&[]);
    let listed =
        Seen::Products { shown: vec![(1, ProductSeen { price: 0, stock: STOCK })], is_all: true };
    changed().act(4, 5, Act::ListProducts, Outcome::Done(listed)).assert(&[Breach::Stale]);
    let bought = || History::of_product().act(2, 3, reserve(4), reserved("a")).reservation(4, "a");
    bought().read(4, 5, product(0, STOCK)).assert(&[Breach::Stale]);
    // What one reader saw, a later one must see, although the change has no response yet.
    History::of_product()
        .change(2, 90, 1, product(1, STOCK))
        .audited(Audited::Changed { product: 1, price: 1 })
        .read(3, 4, product(1, STOCK))
        .read(5, 6, product(0, STOCK))
        .assert(&[Breach::Stale]);
}

#[test]
fn a_copy_is_as_old_as_the_reference_says() {
    let copy = |at: u64, is_calm: bool| {
        let mut history = History::of_product()
            .change(100, 101, 1, product(1, STOCK))
            .audited(Audited::Changed { product: 1, price: 1 })
            .copy(at, at, product(0, STOCK));
        history.faults.extend((!is_calm).then(|| interval(90, 95)));
        history
    };
    copy(112, true).assert(&[]);
    copy(114, true).assert(&[Breach::Stale]);
    copy(130, false).assert(&[]);
    // Twelve seconds without a fault do not make a copy from before it newer.
    copy(140, false).assert(&[]);
    copy(149, false).assert(&[Breach::Stale]);
    let oldest = copy(130, false).findings().oldest;
    assert_eq!((oldest.copies, oldest.age), (1, Duration::from_secs(29)));
}

#[test]
fn units_that_nobody_reserved_were_taken_twice() {
    // Two were reserved, four are gone.
    let history = History::of_product().act(2, 3, reserve(2), reserved("a")).reservation(2, "a");
    history.read(4, 5, product(0, STOCK - 4)).assert(&[Breach::Doubled]);
    // The audit log has a second one.
    let history = History::of_product().act(2, 3, reserve(2), reserved("a"));
    history.reservation(2, "a").reservation(2, "b").assert(&[Breach::Doubled]);
    // Unless there was no response.
    History::of_product()
        .act(2, 3, reserve(2), Outcome::Unknown)
        .reservation(2, "b")
        .read(1_001, 1_002, product(0, STOCK - 2))
        .assert(&[]);
    History::of_product()
        .act(2, 3, reserve(2), Outcome::Unknown)
        .reservation(2, "b")
        .reservation(2, "c")
        .assert(&[Breach::Doubled]);
    // Two buyers have the same one.
    History::of_product()
        .act(2, 3, reserve(2), reserved("a"))
        .act(4, 5, reserve(2), reserved("a"))
        .reservation(2, "a")
        .assert(&[Breach::Lost, Breach::Doubled]);
}

#[test]
fn an_acknowledged_write_that_has_no_entry_or_no_effect_is_lost() {
    History::of_product().act(2, 3, reserve(2), reserved("a")).assert(&[Breach::Lost]);
    History::of_product().change(2, 3, 1, product(1, STOCK)).assert(&[Breach::Lost]);
    History::of_product().read(2, 3, Outcome::Absent).assert(&[Breach::Lost]);
    let none = Seen::Products { shown: Vec::new(), is_all: true };
    History::of_product().act(2, 3, Act::ListProducts, Outcome::Done(none)).assert(&[Breach::Lost]);
    // A list that was cut off says nothing.
    let none = Seen::Products { shown: Vec::new(), is_all: false };
    History::of_product().act(2, 3, Act::ListProducts, Outcome::Done(none)).assert(&[]);
    // While it is being created or deleted, both will do.
    History::of_product()
        .read(0, 1, Outcome::Absent)
        .act(4, 9, Act::DeleteProduct(1), Outcome::Unknown)
        .read(5, 6, Outcome::Absent)
        .assert(&[]);
}

#[test]
fn a_stock_is_what_was_reserved() {
    let history = History::of_product().act(2, 3, reserve(2), reserved("a")).reservation(2, "a");
    history.read(1_001, 1_002, product(0, STOCK)).assert(&[Breach::Stale, Breach::WrongStock]);
    // Enough were left.
    History::of_product().act(2, 3, reserve(2), Outcome::OutOfStock).assert(&[Breach::WrongStock]);
    History::of_product()
        .act(2, 9, reserve(9), Outcome::Unknown)
        .act(4, 5, reserve(2), Outcome::OutOfStock)
        .assert(&[]);
    // More than there were.
    History::of_product()
        .act(2, 3, reserve(11), reserved("a"))
        .reservation(11, "a")
        .read(4, 5, product(0, -1))
        .assert(&[Breach::WrongStock, Breach::WrongStock]);
}

#[test]
fn a_price_that_no_client_set_is_a_phantom() {
    History::of_product().read(2, 3, product(4, STOCK)).assert(&[Breach::Phantom]);
    History::of_product()
        .change(2, 3, 1, Outcome::Refused)
        .change(4, 5, 2, product(2, STOCK))
        .audited(Audited::Changed { product: 1, price: 2 })
        .read(4, 6, product(1, STOCK))
        .assert(&[Breach::Phantom]);
    // A change that was rejected, but is recorded.
    History::of_product()
        .change(2, 3, 1, Outcome::Refused)
        .audited(Audited::Changed { product: 1, price: 1 })
        .assert(&[Breach::Phantom]);
}

#[test]
fn a_deleted_product_stays_gone() {
    let deleted = || {
        History::of_product()
            .act(2, 3, Act::DeleteProduct(1), Outcome::Done(Seen::Nothing))
            .audited(Audited::Deleted(1))
    };
    deleted().read(2, 3, product(0, STOCK)).read(4, 5, Outcome::Absent).assert(&[]);
    deleted().read(4, 5, product(0, STOCK)).assert(&[Breach::Resurrected]);
    deleted()
        .act(4, 5, reserve(1), reserved("a"))
        .reservation(1, "a")
        .assert(&[Breach::Resurrected]);
    // Nothing was deleted.
    History::of_product()
        .act(2, 3, Act::DeleteProduct(1), Outcome::Done(Seen::Nothing))
        .assert(&[Breach::Lost]);
}

#[test]
fn a_file_has_its_bytes_until_it_is_deleted() {
    let download = |is_intact| Outcome::Done(Seen::Content { is_intact });
    let list = |files| (Act::ListFiles(ada()), Outcome::Done(Seen::Files(files)));
    let listed = |history: History, begin, end, files| {
        let (act, outcome) = list(files);
        history.act(begin, end, act, outcome)
    };
    let deleted = || {
        History::of_file()
            .act(20, 30, Act::DeleteFile(7), Outcome::Done(Seen::Nothing))
            .audited(Audited::FileDeleted(7))
    };
    let good = History::of_file().act(2, 3, Act::Download(7), download(true));
    listed(good, 4, 5, vec![file("a", 7)]).assert(&[]);
    History::of_file().act(2, 3, Act::Download(7), download(false)).assert(&[Breach::Corrupt]);
    let other = FileSeen { is_intact: false, ..file("a", 7) };
    let seen = Outcome::Done(Seen::File(other));
    History::of_file().act(2, 3, Act::ReadFile(7), seen).assert(&[Breach::Corrupt]);
    History::of_file().act(2, 3, Act::Download(7), Outcome::Absent).assert(&[Breach::Lost]);
    listed(History::of_file(), 2, 3, Vec::new()).assert(&[Breach::Lost]);
    listed(History::of_file(), 0, 3, Vec::new()).assert(&[]);
    listed(History::of_file(), 2, 3, vec![file("a", 7), file("b", 7)]).assert(&[Breach::Doubled]);
    deleted().act(25, 40, Act::Download(7), download(true)).assert(&[]);
    deleted().act(31, 40, Act::Download(7), download(true)).assert(&[Breach::Resurrected]);
    listed(deleted(), 31, 40, vec![file("a", 7)]).assert(&[Breach::Resurrected]);
    let again = Outcome::Done(Seen::Nothing);
    let twice = deleted().act(31, 32, Act::DeleteFile(7), again);
    twice.audited(Audited::FileDeleted(7)).assert(&[
        Breach::Doubled,
        Breach::Doubled,
        Breach::Resurrected,
    ]);
    // Somebody else's.
    let act = Act::ListFiles("bob".into());
    History::of_file()
        .act(2, 3, act, Outcome::Done(Seen::Files(vec![file("a", 7)])))
        .assert(&[Breach::Phantom]);
    let refused = History::default().act(0, 1, upload(), Outcome::Refused);
    listed(refused, 2, 3, vec![file("a", 7)]).assert(&[Breach::Phantom]);
    let unknown = History::default().act(0, 1, upload(), Outcome::Unknown);
    listed(unknown, 2, 3, vec![file("a", 7)]).assert(&[]);
    let lost = History { audit: Vec::new(), ..History::of_file() };
    lost.assert(&[Breach::Lost]);
    History::of_file().audited(Audited::Uploaded(7)).assert(&[Breach::Doubled]);
}

#[test]
fn an_account_exists_once_it_is_registered() {
    let registered = || {
        History::default()
            .act(0, 1, Act::Register(ada()), Outcome::Done(Seen::Nothing))
            .audited(Audited::Registered(ada()))
    };
    registered().act(2, 3, Act::LogIn(ada()), Outcome::Done(Seen::Nothing)).assert(&[]);
    registered().act(2, 3, Act::LogIn(ada()), Outcome::Absent).assert(&[Breach::Lost]);
    registered().act(2, 3, Act::LogIn(ada()), Outcome::Unknown).assert(&[]);
    registered().audited(Audited::Registered(ada())).assert(&[Breach::Doubled]);
    History { audit: Vec::new(), ..registered() }.assert(&[Breach::Lost]);
}

#[test]
fn a_repetition_gets_the_first_response() {
    let repeated = |how| {
        let outcome = Outcome::Done(Seen::Repeated(how));
        History::default().act(0, 1, Act::Repeat("reservation"), outcome)
    };
    repeated(Repetition::Same).assert(&[]);
    repeated(Repetition::Different).assert(&[Breach::Doubled]);
}

#[test]
fn what_cannot_be_read_at_the_end_is_reported() {
    let (begin, end) = (SETTLED + 1, SETTLED + 2);
    History::of_product().read(begin, end, Outcome::Unknown).assert(&[Breach::Unreadable]);
    History::of_product().read(2, 3, Outcome::Unknown).assert(&[]);
    let act = Act::Download(7);
    History::of_file().act(begin, end, act, Outcome::Unknown).assert(&[Breach::Unreadable]);
    History::default()
        .act(0, 1, Act::Register(ada()), Outcome::Unknown)
        .act(begin, end, Act::FindUser(ada()), Outcome::Refused)
        .assert(&[Breach::Unreadable]);
}
