//! Long-running tests of the walkers with random bytes, grown from `gateway/tests/corpus`.
//!
//! Each target runs for `FUZZ_SECONDS` (2 by default), as in `make fuzz s=60`. A failure prints the
//! input and its `FUZZ_CASE`, which repeats that one case.

mod bodies;
mod headers;
pub(crate) mod reference;

use std::fmt::Debug;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use service_kit::testing::random::{Random, files_of, number_from};

/// Inputs between two looks at the clock.
const BATCH: u64 = 64;
/// Maximum bytes of an input.
const MAX_BYTES: usize = 2048;

/// Runs `check` on the corpus of a target, then on inputs made of it and of `words`.
fn run(target: &str, words: &[&[u8]], check: impl Fn(&[u8], &mut Random)) {
    let corpus = corpus(target);
    let checked = |case: u64, input: &[u8]| {
        let _shown_if_it_fails = Shown { target, case, input };
        check(input, &mut Random(!case));
    };
    if let Some(case) = number_from("FUZZ_CASE") {
        return checked(case, &input(&mut Random(case), &corpus, words));
    }
    corpus.iter().for_each(|input| checked(0, input));
    let time = Duration::from_secs(number_from("FUZZ_SECONDS").unwrap_or(2));
    let (began, mut case, mut cases) = (Instant::now(), rand::random::<u64>(), 0_u64);
    while began.elapsed() < time {
        for _ in 0..BATCH {
            checked(case, &input(&mut Random(case), &corpus, words));
            case = case.wrapping_add(1);
        }
        cases += BATCH;
    }
    eprintln!("{target}: {cases} inputs in {time:?}");
}

/// Gives `bytes` to `step` in pieces: whole, byte by byte, and cut at random places. Every time the
/// result must be the same.
fn same_in_any_pieces<R: Debug + PartialEq>(
    bytes: &[u8],
    random: &mut Random,
    read: impl Fn(&[usize]) -> R,
) -> R {
    let whole = read(&[bytes.len()]);
    let each: Vec<_> = (1..=bytes.len()).collect();
    assert_eq!(read(&each), whole, "byte by byte");
    let mut cuts: Vec<_> = (0..random.below(6)).map(|_| random.below(bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    assert_eq!(read(&cuts), whole, "cut at {cuts:?}");
    whole
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target))
}

/// Prints an input when its check panics.
struct Shown<'a> {
    target: &'a str,
    case: u64,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { target, case, input } = self;
            eprintln!("{target}: FUZZ_CASE={case} is \"{}\"", input.escape_ascii());
        }
    }
}

/// Mostly an entry of the corpus with a few changes; else words in a row.
fn input(random: &mut Random, corpus: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = match random.below(8) {
        0 => (0..random.below(24)).flat_map(|_| random.one_of(words).to_vec()).collect(),
        _ => corpus[random.below(corpus.len())].clone(),
    };
    for _ in 0..random.below(5) {
        change(random, &mut input, corpus, words);
    }
    input.truncate(MAX_BYTES);
    input
}

/// Also splices pieces of the corpus in, and repeats the rest of the input.
fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]]) {
    let start = random.below(input.len() + 1);
    let end = start + random.below((input.len() - start).min(8) + 1);
    let piece = match random.below(6) {
        0 => Vec::new(),
        1 => vec![random.next_u64() as u8],
        2 => {
            let other = &corpus[random.below(corpus.len())];
            other[random.below(other.len())..].to_vec()
        }
        3 => input[start..].to_vec(),
        _ => random.one_of(words).to_vec(),
    };
    // Half of the pieces are inserted, the others replace something.
    let end = if random.below(2) == 0 { start } else { end };
    input.splice(start..end, piece);
}
