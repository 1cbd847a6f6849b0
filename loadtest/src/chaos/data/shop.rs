//! The state that the clients of products and files share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::chaos::data::ledger::{FileNumber, FileSeen, ProductNumber};
use crate::chaos::data::responses::Names;
use crate::chaos::run::Run;

/// With more products than these, each one that is retired is deleted: a list shows 100 at once,
/// and with more none could be seen to be missing.
const MOST_PRODUCTS: u32 = 60;

/// What the clients of products and files share.
pub(crate) struct Shop {
    pub(crate) run: Arc<Run>,
    pub(crate) names: Names,
    /// Whether writes of unknown outcome are repeated.
    pub(crate) repeats: bool,
    files: AtomicU32,
    /// The ids of uploaded files. Never held across an await.
    file_ids: Mutex<HashMap<FileNumber, String>>,
    /// Files whose deletion was acknowledged. Never held across an await.
    deleted: Mutex<HashSet<FileNumber>>,
    /// Never held across an await.
    shelf: Mutex<Shelf>,
}

/// The products that an admin created.
#[derive(Default)]
struct Shelf {
    created: u32,
    /// How many of these are or may be deleted.
    deleted: u32,
    /// On sale.
    open: Vec<ProductNumber>,
    /// No longer on sale; some of them deleted.
    retired: Vec<ProductNumber>,
    sold_out: Vec<ProductNumber>,
}

impl Shop {
    pub(crate) fn new(run: Arc<Run>, word: String, repeats: bool) -> Arc<Self> {
        Arc::new(Self {
            run,
            names: Names::new(word),
            repeats,
            files: AtomicU32::new(0),
            file_ids: Mutex::default(),
            deleted: Mutex::default(),
            shelf: Mutex::default(),
        })
    }

    pub(crate) fn next_file(&self) -> FileNumber {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers the id of a file; the first one, should there be two.
    pub(crate) fn note_file(&self, seen: &FileSeen) {
        self.ids().entry(seen.file).or_insert_with(|| seen.id.clone());
    }

    /// The id of an uploaded file.
    pub(crate) fn file_id(&self, file: FileNumber) -> Option<String> {
        self.ids().get(&file).cloned()
    }

    pub(crate) fn note_deleted(&self, file: FileNumber) {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
    }

    /// Whether the deletion of a file was acknowledged.
    pub(crate) fn is_deleted(&self, file: FileNumber) -> bool {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).contains(&file)
    }

    /// A number for one more product.
    pub(crate) fn next_product(&self) -> ProductNumber {
        let mut shelf = self.shelf();
        let number = shelf.created;
        shelf.created += 1;
        number
    }

    /// Whether there are so many products that one should be deleted.
    pub(crate) fn is_full(&self) -> bool {
        let shelf = self.shelf();
        shelf.created - shelf.deleted > MOST_PRODUCTS
    }

    pub(crate) fn note_product_deleted(&self) {
        self.shelf().deleted += 1;
    }

    /// How many products an admin tried to create.
    pub(crate) fn product_count(&self) -> u32 {
        self.shelf().created
    }

    /// Puts a product on sale.
    pub(crate) fn open(&self, product: ProductNumber) {
        self.shelf().open.push(product);
    }

    /// Takes a product off the shelf.
    pub(crate) fn retire(&self, product: ProductNumber) {
        let mut shelf = self.shelf();
        shelf.open.retain(|open| *open != product);
        shelf.retired.push(product);
    }

    /// A product that is on sale.
    pub(crate) fn any_open(&self, random: &mut StdRng) -> Option<ProductNumber> {
        any(&self.shelf().open, random)
    }

    /// A product that is no longer on sale.
    pub(crate) fn any_retired(&self, random: &mut StdRng) -> Option<ProductNumber> {
        any(&self.shelf().retired, random)
    }

    pub(crate) fn note_sold_out(&self, product: ProductNumber) {
        self.shelf().sold_out.push(product);
    }

    pub(crate) fn is_sold_out(&self, product: ProductNumber) -> bool {
        self.shelf().sold_out.contains(&product)
    }

    fn ids(&self) -> MutexGuard<'_, HashMap<FileNumber, String>> {
        self.file_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of these.
pub(crate) fn any<T: Clone>(of: &[T], random: &mut StdRng) -> Option<T> {
    let last = of.len().checked_sub(1)?;
    of.get(random.random_range(0..=last)).cloned()
}
