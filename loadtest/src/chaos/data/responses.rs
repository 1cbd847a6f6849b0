//! Reads responses about products, files and accounts.

use std::ops::Range;

use http::HeaderName;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION};
use proto_contracts::files::{File, FilePage};
use proto_contracts::headers::{CACHE_STATUS, IDEMPOTENCY_REPLAYED};
use proto_contracts::products::{Product, ProductPage, Reservation};

use crate::chaos::data::content::{self, Digests};
use crate::chaos::data::ledger::{Act, FileNumber, FileSeen, ProductNumber, ProductSeen, Seen};
use crate::chaos::ledger::Repetition;
use crate::client::Response;

/// Headers that the response to a repeated write must have in common with the first response.
const LASTING: [HeaderName; 3] = [CONTENT_TYPE, ETAG, LOCATION];

/// The names of the run's products and files.
#[derive(Debug)]
pub(crate) struct Names {
    /// A word that is in the name of each product of the run, and of no other.
    pub(crate) word: String,
    digests: Digests,
}

impl Names {
    pub(crate) fn new(word: String) -> Self {
        Self { word, digests: Digests::default() }
    }

    pub(crate) fn product_id(&self, product: ProductNumber) -> String {
        format!("{}-{product}", self.word)
    }

    pub(crate) fn product(&self, id: &str) -> Option<ProductNumber> {
        id.strip_prefix(&self.word)?.strip_prefix('-')?.parse().ok()
    }

    pub(crate) fn product_name(&self, product: ProductNumber) -> String {
        format!("{} {product}", self.word)
    }

    pub(crate) fn file_name(&self, file: FileNumber) -> String {
        format!("{}-{file}.bin", self.word)
    }

    pub(crate) fn file(&self, name: &str) -> Option<FileNumber> {
        name.strip_prefix(&self.word)?.strip_prefix('-')?.strip_suffix(".bin")?.parse().ok()
    }
}

/// What a success shows; `None` if it is not the response to this act.
pub(crate) fn seen(names: &Names, act: &Act, response: &Response) -> Option<Seen> {
    match act {
        Act::CreateProduct { product, .. }
        | Act::ChangeProduct { product, .. }
        | Act::ReadProduct(product) => {
            let (number, seen) = product_seen(names, &parsed(response)?)?;
            (number == *product).then_some(Seen::Product(seen))
        }
        Act::ListProducts => {
            let page: ProductPage = parsed(response)?;
            let shown = page.products.iter().map(|product| product_seen(names, product));
            let is_all = page.next_cursor.is_none();
            Some(Seen::Products { shown: shown.collect::<Option<_>>()?, is_all })
        }
        Act::Reserve { product, quantity, .. } => {
            let reservation: Reservation = parsed(response)?;
            let is_own = names.product(&reservation.product_id) == Some(*product)
                && reservation.quantity == *quantity;
            is_own.then_some(Seen::Reserved(reservation.id))
        }
        Act::Upload { file, .. } | Act::ReadFile(file) => {
            let seen = file_seen(names, parsed(response)?)?;
            (seen.file == *file).then_some(Seen::File(seen))
        }
        Act::Download(file) => {
            let whole = content::content(*file);
            let part = match response.headers.get(CONTENT_RANGE) {
                Some(range) => range_of(range.to_str().ok()?)?,
                None => 0..whole.len(),
            };
            let is_intact = whole.get(part).is_some_and(|part| *part == response.body);
            Some(Seen::Content { is_intact })
        }
        // One page; the caller appends it to those before.
        Act::ListFiles(_) => {
            let page: FilePage = parsed(response)?;
            let files = page.files.into_iter().map(|file| file_seen(names, file));
            Some(Seen::Files(files.collect::<Option<_>>()?))
        }
        Act::DeleteProduct(_)
        | Act::DeleteFile(_)
        | Act::Register(_)
        | Act::LogIn(_)
        | Act::FindUser(_)
        | Act::Repeat(_) => Some(Seen::Nothing),
    }
}

/// Whether Nginx's cache sent it.
pub(crate) fn is_copy(response: &Response) -> bool {
    let status = response.headers.get(CACHE_STATUS).and_then(|status| status.to_str().ok());
    status.is_some_and(|status| matches!(status, "HIT" | "STALE" | "UPDATING" | "REVALIDATED"))
}

/// Compares the response to a repeated write with the response to its first attempt.
pub(crate) fn repeated(response: &Response, first: &Response) -> Repetition {
    let is_same = response.status == first.status
        && response.body == first.body
        && LASTING.iter().all(|name| response.headers.get(name) == first.headers.get(name));
    let is_replayed =
        response.headers.get(IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true");
    if is_same && is_replayed { Repetition::Same } else { Repetition::Different }
}

pub(crate) fn parsed<T: serde::de::DeserializeOwned>(response: &Response) -> Option<T> {
    serde_json::from_slice(&response.body).ok()
}

/// The price in an amount with two decimal places.
pub(crate) fn price(amount: &str) -> Option<u32> {
    amount.strip_suffix(".00")?.parse().ok()
}

fn product_seen(names: &Names, product: &Product) -> Option<(ProductNumber, ProductSeen)> {
    let number = names.product(&product.id)?;
    let is_own = product.name == names.product_name(number);
    let seen = ProductSeen { price: price(&product.price)?, stock: product.stock };
    is_own.then_some((number, seen))
}

fn file_seen(names: &Names, file: File) -> Option<FileSeen> {
    let number = names.file(&file.name)?;
    let is_intact = file.size == content::size(number) && names.digests.is_of(number, &file.sha256);
    Some(FileSeen { id: file.id, file: number, is_intact })
}

/// The part in `Content-Range: bytes 0-9/100`.
fn range_of(text: &str) -> Option<Range<usize>> {
    let (first, last) = text.strip_prefix("bytes ")?.split_once('/')?.0.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<usize>().ok()?.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_one_run_alone() {
        let names = Names::new("chaos1a".to_owned());
        assert_eq!(names.product(&names.product_id(7)), Some(7));
        assert_eq!(names.file(&names.file_name(8)), Some(8));
        for strange in ["p001", "chaos1-7", "chaos1a-", "chaos1a7", "chaos1b-7"] {
            assert_eq!((names.product(strange), names.file(strange)), (None, None), "{strange}");
        }
        assert_eq!((price("12.00"), price("12.50"), price("12")), (Some(12), None, None));
        assert_eq!(range_of("bytes 2-9/100"), Some(2..10));
        assert_eq!(range_of("bytes */100"), None);
    }
}
