//! The clients of products and files: admins, who change products; shoppers, who reserve units and
//! keep files; visitors, who register and do both once; and readers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto_contracts::accounts::Tokens;
use rand::RngExt as _;

use crate::chaos::data::calls::{DataCaller, DataLedger};
use crate::chaos::data::ledger::{Act, FileNumber, Name, Outcome, ProductNumber};
use crate::chaos::data::responses;
use crate::chaos::data::shop::any;
use crate::chaos::users::User;

/// Pauses between two acts, milliseconds: the clients of sessions are the load.
const THINK_MS: std::ops::RangeInclusive<u64> = 15..=90;
/// Products of an admin that are on sale at a time.
const SLOTS: usize = 3;
/// Units of a new product.
const STOCK: std::ops::RangeInclusive<i32> = 12..=60;
/// In so many of a hundred turns of an admin, a product is taken off the shelf.
const RETIRED_PERCENT: u32 = 3;
/// Units of a reservation.
const QUANTITY: std::ops::RangeInclusive<i32> = 1..=3;
/// Files that a shopper keeps; then it deletes one for each upload.
const MOST_FILES: usize = 30;
/// How many files that are or may be gone a shopper uses again, to check that they stay gone.
const GONE: usize = 12;

/// The files of a user at the end.
pub(crate) struct Owner {
    pub(crate) user: Arc<User>,
    /// All that it uploaded and that were acknowledged, deleted ones too.
    pub(crate) files: Vec<FileNumber>,
}

/// The result of a client.
#[derive(Default)]
pub(crate) struct DataResult {
    pub(crate) ledger: DataLedger,
    pub(crate) owners: Vec<Owner>,
    /// The users whom it tried to register.
    pub(crate) registered: Vec<Name>,
}

fn is_stopped(caller: &DataCaller) -> bool {
    caller.shop.run.stopped.load(Ordering::Relaxed)
}

/// A product that an admin sells.
struct OnSale {
    product: ProductNumber,
    price: u32,
}

/// Creates, changes and deletes products, each of them alone.
pub(crate) async fn administrate(mut caller: DataCaller) -> DataResult {
    let mut on_sale: Vec<OnSale> = Vec::new();
    while !is_stopped(&caller) {
        if on_sale.len() < SLOTS {
            let product = caller.shop.next_product();
            let stock = caller.random.random_range(STOCK);
            if let (Outcome::Done(_), _) = caller.write(Act::CreateProduct { product, stock }).await
            {
                caller.shop.open(product);
                on_sale.push(OnSale { product, price: 0 });
            }
            caller.pause(THINK_MS).await;
            continue;
        }
        caller.pause(THINK_MS).await;
        let slot = caller.random.random_range(0..SLOTS);
        let Some(OnSale { product, price }) = on_sale.get_mut(slot) else { continue };
        let product = *product;
        let choice = caller.random.random_range(0..100);
        let is_unknown = if choice < 12 {
            caller.read(Act::ReadProduct(product)).await;
            false
        } else {
            *price += 1;
            let change = Act::ChangeProduct { product, price: *price };
            caller.write(change).await.0 == Outcome::Unknown
        };
        // Nothing may follow a change that may still be executed.
        if is_unknown || choice < RETIRED_PERCENT || caller.shop.is_sold_out(product) {
            on_sale.swap_remove(slot);
            caller.shop.retire(product);
            // Half of the products are kept for the final reads.
            if caller.random.random_range(0..2) == 0 || caller.shop.is_full() {
                caller.shop.note_product_deleted();
                caller.write(Act::DeleteProduct(product)).await;
            }
        }
    }
    DataResult { ledger: caller.ledger, ..DataResult::default() }
}

/// Reserves units, and uploads, reads and deletes files.
pub(crate) async fn shop(mut caller: DataCaller, user: Arc<User>) -> DataResult {
    let owner: Name = user.username.as_str().into();
    let (mut kept, mut gone): (Vec<FileNumber>, Vec<FileNumber>) = (Vec::new(), Vec::new());
    let mut files = Vec::new();
    while !is_stopped(&caller) {
        caller.pause(THINK_MS).await;
        let choice = caller.random.random_range(0..100);
        if choice < 35 {
            reserve(&mut caller, &owner).await;
            continue;
        }
        if choice < 60 {
            files.extend(upload(&mut caller, &owner).await.inspect(|file| kept.push(*file)));
        }
        let file = any(&kept, &mut caller.random);
        match (choice, file) {
            (60..72, Some(file)) => drop(caller.read(Act::Download(file)).await),
            (72..78, Some(file)) => drop(caller.read(Act::ReadFile(file)).await),
            (78..82, _) => drop(caller.read(Act::ListFiles(Arc::clone(&owner))).await),
            (82..90, Some(file)) => delete(&mut caller, file, &mut kept, &mut gone).await,
            (90..94, _) => use_gone(&mut caller, &gone).await,
            (94.., _) => read_product(&mut caller).await,
            (_, Some(file)) if kept.len() > MOST_FILES => {
                delete(&mut caller, file, &mut kept, &mut gone).await;
            }
            _ => {}
        }
    }
    DataResult {
        ledger: caller.ledger,
        owners: vec![Owner { user, files }],
        registered: Vec::new(),
    }
}

/// Registers users, one after the other. Each logs in, reserves a unit and keeps a file for a
/// while.
pub(crate) async fn visit(mut caller: DataCaller, prefix: String, every: Duration) -> DataResult {
    let mut result = DataResult::default();
    for number in 0.. {
        caller.shop.run.pause(every).await;
        if is_stopped(&caller) {
            break;
        }
        let name: Name = format!("{prefix}-v{number}").into();
        caller.user = None;
        result.registered.push(Arc::clone(&name));
        let (registered, _) = caller.write(Act::Register(Arc::clone(&name))).await;
        if !matches!(registered, Outcome::Done(_)) {
            continue;
        }
        let (_, response) = caller.read(Act::LogIn(Arc::clone(&name))).await;
        let tokens: Option<Tokens> = response.as_ref().and_then(responses::parsed);
        let user = tokens.and_then(|tokens| User::new(number, name.to_string(), &tokens).ok());
        let Some(user) = user.map(Arc::new) else { continue };
        caller.user = Some(Arc::clone(&user));
        reserve(&mut caller, &name).await;
        let uploaded = upload(&mut caller, &name).await;
        if let Some(file) = uploaded {
            caller.read(Act::Download(file)).await;
            if number % 2 == 0 {
                caller.write(Act::DeleteFile(file)).await;
                caller.read(Act::ReadFile(file)).await;
            }
        }
        result.owners.push(Owner { user, files: uploaded.into_iter().collect() });
    }
    DataResult { ledger: caller.ledger, ..result }
}

/// Reads products, one by one and in lists.
pub(crate) async fn watch(mut caller: DataCaller) -> DataResult {
    while !is_stopped(&caller) {
        caller.pause(THINK_MS).await;
        match caller.random.random_range(0..4) {
            0 => drop(caller.read(Act::ListProducts).await),
            _ => read_product(&mut caller).await,
        }
    }
    DataResult { ledger: caller.ledger, ..DataResult::default() }
}

async fn reserve(caller: &mut DataCaller, user: &Name) {
    let shop = Arc::clone(&caller.shop);
    let open = shop.any_open(&mut caller.random);
    // Now and then one that is no longer on sale, and may be deleted.
    let retired = match caller.random.random_range(0..20) {
        0 => shop.any_retired(&mut caller.random),
        _ => None,
    };
    let Some(product) = retired.or(open) else { return };
    let quantity = caller.random.random_range(QUANTITY);
    let user = Arc::clone(user);
    if let (Outcome::OutOfStock, _) = caller.write(Act::Reserve { product, quantity, user }).await {
        shop.note_sold_out(product);
    }
}

async fn upload(caller: &mut DataCaller, owner: &Name) -> Option<FileNumber> {
    let file = caller.shop.next_file();
    let (outcome, _) = caller.write(Act::Upload { file, owner: Arc::clone(owner) }).await;
    matches!(outcome, Outcome::Done(_)).then_some(file)
}

async fn delete(
    caller: &mut DataCaller,
    file: FileNumber,
    kept: &mut Vec<FileNumber>,
    gone: &mut Vec<FileNumber>,
) {
    kept.retain(|kept| *kept != file);
    caller.write(Act::DeleteFile(file)).await;
    gone.insert(0, file);
    gone.truncate(GONE);
}

/// Uses a file that is or may be deleted.
async fn use_gone(caller: &mut DataCaller, gone: &[FileNumber]) {
    let Some(file) = any(gone, &mut caller.random) else { return };
    match caller.random.random_range(0..3) {
        0 => drop(caller.write(Act::DeleteFile(file)).await),
        1 => drop(caller.read(Act::Download(file)).await),
        _ => drop(caller.read(Act::ReadFile(file)).await),
    }
}

async fn read_product(caller: &mut DataCaller) {
    let shop = Arc::clone(&caller.shop);
    let open = shop.any_open(&mut caller.random);
    let retired = match caller.random.random_range(0..5) {
        0 => shop.any_retired(&mut caller.random),
        _ => None,
    };
    if let Some(product) = retired.or(open) {
        caller.read(Act::ReadProduct(product)).await;
    }
}
