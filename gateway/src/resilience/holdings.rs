//! Concurrency per client: connections, requests in flight or streams.
//!
//! A table of fixed size, as for the rate limit, but with exact counts: dropping a [`Holding`]
//! releases it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::resilience::rate_limit::Client;

/// Maximum number of clients that are counted at once. With 8 bytes each the table has 256 KiB.
const CELLS: usize = 1 << 15;
/// Associativity. With 10,000 clients at once about one set in 2,000 is full; a client without a
/// cell is not counted.
const WAYS: usize = 8;
/// Bits of a cell for the count. The others identify the client.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Highest limit that can be configured.
pub const MOST: u32 = 1_000_000;

/// Counts one kind of resource per client.
#[derive(Debug)]
pub struct Holdings {
    /// Seed of the hashes, so that clients cannot choose to share a set.
    seed: u64,
    /// A tag and a count each; a cell with count 0 is free.
    cells: Box<[AtomicU64]>,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { seed: rand::random(), cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect() }
    }
}

/// One resource held by a client, until this is dropped.
#[derive(Debug)]
pub struct Holding {
    table: Arc<Holdings>,
    /// `None`: the set was full, so this one is not counted.
    cell: Option<u32>,
    held: u32,
}

impl Holding {
    /// How much the client held at that time, this one included.
    pub fn held(&self) -> u32 {
        self.held
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(cell) = self.cell {
            // The count is at least 1 while this lives, so the tag is not touched.
            self.table.cells[cell as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Holdings {
    /// Takes one more for the client; `None` when it holds `most` already.
    pub fn take(self: &Arc<Self>, client: Client, most: u32) -> Option<Holding> {
        let hash = client.hash(self.seed);
        let tag = hash & !COUNT_MASK;
        let first = (hash as usize % (CELLS / WAYS)) * WAYS;
        let set = &self.cells[first..first + WAYS];
        loop {
            let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
            let is_its_own = |known: u64| known & COUNT_MASK != 0 && known & !COUNT_MASK == tag;
            let its_own = set.iter().position(|cell| is_its_own(read(cell)));
            let Some(way) =
                its_own.or_else(|| set.iter().position(|cell| read(cell) & COUNT_MASK == 0))
            else {
                return Some(Holding { table: Arc::clone(self), cell: None, held: 1 });
            };
            let known = read(&set[way]);
            let held = if is_its_own(known) { (known & COUNT_MASK) as u32 } else { 0 };
            if held == 0 && known & COUNT_MASK != 0 {
                // Another client took the cell meanwhile.
                continue;
            }
            if held >= most {
                return None;
            }
            let next = tag | u64::from(held + 1);
            if set[way].compare_exchange(known, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                return Some(Holding {
                    table: Arc::clone(self),
                    cell: Some((first + way) as u32),
                    held: held + 1,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Instant;

    use super::*;

    fn at(text: &str) -> Client {
        Client::Address(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn a_client_holds_at_most_its_limit_and_others_are_unaffected() {
        let table = Arc::new(Holdings::default());
        let held: Vec<_> = (0..3).filter_map(|_| table.take(at("192.0.2.1"), 3)).collect();
        assert_eq!(held.iter().map(Holding::held).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(table.take(at("192.0.2.1"), 3).is_none());
        assert!(table.take(at("192.0.2.2"), 3).is_some());
        drop(held);
        assert_eq!(table.take(at("192.0.2.1"), 3).expect("room again").held(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let table = Arc::new(Holdings::default());
        let _held = table.take(at("2001:db8::1"), 1);
        assert!(table.take(at("2001:db8::2"), 1).is_none());
        assert!(table.take(at("2001:db8:0:1::1"), 1).is_some());
    }

    #[test]
    fn nothing_leaks_under_concurrency() {
        let table = Arc::new(Holdings::default());
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let table = &table;
                scope.spawn(move || {
                    for turn in 0..20_000_u32 {
                        let client = Client::Address([10, 0, thread % 2, (turn % 50) as u8].into());
                        let _held = table.take(client, 1_000);
                    }
                });
            }
        });
        assert!(table.cells.iter().all(|cell| cell.load(Ordering::Relaxed) & COUNT_MASK == 0));
    }

    #[test]
    fn a_full_set_rejects_no_client() {
        let table = Arc::new(Holdings::default());
        let clients = (0..200_000_u32)
            .map(|client| Client::Address((0x0a00_0000 + client).to_be_bytes().into()));
        let held: Vec<_> =
            clients.map(|client| table.take(client, 1).expect("each holds its first")).collect();
        let counted = held.iter().filter(|held| held.cell.is_some()).count();
        assert!(counted > CELLS * 9 / 10, "{counted} are counted");
    }

    /// `cargo test --release -p gateway --lib -- --ignored --nocapture cost_of_a_holding`
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_holding() {
        const TURNS: u32 = 5_000_000;
        let table = Arc::new(Holdings::default());
        let client = at("192.0.2.1");
        let begun = Instant::now();
        for _ in 0..TURNS {
            std::hint::black_box(table.take(std::hint::black_box(client), 50));
        }
        eprintln!("take and release: {:?} each", begun.elapsed() / TURNS);
    }
}
