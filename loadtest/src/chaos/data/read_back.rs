//! What follows when all clients have stopped. First, writes whose outcome is still unknown are
//! repeated. Then everything is read once more through each part of the system, and the audit log
//! by an admin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto_contracts::Endpoint;
use proto_contracts::audit::{AuditAction, AuditEntry, AuditPage};
use rand::RngExt as _;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::chaos::data::calls::{DataCaller, DataLedger, Pending};
use crate::chaos::data::clients::Owner;
use crate::chaos::data::ledger::{Act, Audited, Name, Via};
use crate::chaos::data::responses;
use crate::chaos::data::shop::Shop;
use crate::chaos::users::User;
use crate::target::Target;

/// Number of readers at each place.
const READERS: u64 = 4;
/// How long an act is tried. The system has recovered, so the first attempt should succeed.
const WITHIN: Duration = Duration::from_secs(20);
/// Of the files that were deleted, one in so many is read by its id. Lists show the others.
const DELETED: u32 = 4;

/// Where the run's data is read.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) via: Via,
    pub(crate) target: Arc<Target>,
}

/// What there is to read at the end.
pub(crate) struct Known {
    pub(crate) owners: Vec<Owner>,
    pub(crate) registered: Vec<Name>,
    pub(crate) admin: Option<Arc<User>>,
}

/// Repeats each of these writes until its outcome is known.
pub(crate) async fn settle(shop: &Arc<Shop>, pending: Vec<Pending>) -> DataLedger {
    let mut caller = DataCaller::new(shop, 0, None);
    for write in pending {
        let begin = shop.run.now();
        let mut left = Some(write);
        while let Some(write) = left.take() {
            if !shop.repeats || shop.run.now().saturating_sub(begin) > WITHIN {
                caller.give_up(write);
                break;
            }
            left = caller.settle(write).await;
            if left.is_some() {
                caller.back_off().await;
            }
        }
    }
    caller.ledger
}

/// Reads everything at each place.
pub(crate) async fn read_back(shop: &Arc<Shop>, places: &[Place], known: &Known) -> DataLedger {
    let mut readers = JoinSet::new();
    for place in places {
        let work = Arc::new(Mutex::new(work_at(&place.via, shop, known)));
        for reader in 0..READERS {
            let work = Arc::clone(&work);
            let mut caller = DataCaller::at(shop, reader, None, place.via.clone(), &place.target);
            readers.spawn(async move {
                let next = || work.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some((user, act)) = next() {
                    caller.user = user;
                    caller.read_surely(act, WITHIN).await;
                }
                caller.ledger
            });
        }
    }
    let mut ledger = DataLedger::default();
    readers.join_all().await.into_iter().for_each(|part| ledger.extend(part));
    ledger
}

/// Whatever is to be read at a place, and as whom.
fn work_at(via: &Via, shop: &Shop, known: &Known) -> VecDeque<(Option<Arc<User>>, Act)> {
    let mut work = VecDeque::new();
    let mut add = |user: Option<&Arc<User>>, act| work.push_back((user.cloned(), act));
    add(None, Act::ListProducts);
    (0..shop.product_count()).for_each(|product| add(None, Act::ReadProduct(product)));
    // What needs credentials is the same there as at the gateway.
    if *via == Via::Nginx {
        return work;
    }
    for name in known.registered.iter().filter(|_| known.admin.is_some()) {
        add(known.admin.as_ref(), Act::FindUser(Arc::clone(name)));
    }
    for Owner { user, files } in &known.owners {
        add(Some(user), Act::ListFiles(user.username.as_str().into()));
        for file in files {
            let is_deleted = shop.is_deleted(*file);
            if !is_deleted {
                add(Some(user), Act::Download(*file));
            } else if rand::rng().random_range(0..DELETED) == 0 {
                add(Some(user), Act::ReadFile(*file));
            }
        }
    }
    work
}

/// The entries of the audit log about the run since this time. `None` if it cannot be read.
pub(crate) async fn audit(
    shop: &Arc<Shop>,
    admin: &Arc<User>,
    since: proto_contracts::Timestamp,
) -> Option<Vec<Audited>> {
    let mut caller = DataCaller::new(shop, 0, Some(Arc::clone(admin)));
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let mut failures = 0;
    let path = Endpoint::Audit.templates().canonical;
    loop {
        let response = caller.fetch(&format!("{path}?limit=100&from={since}{cursor}")).await;
        let Some(page) = response.as_ref().and_then(responses::parsed::<AuditPage>) else {
            failures += 1;
            if failures > 20 {
                return None;
            }
            caller.back_off().await;
            continue;
        };
        found.extend(page.entries.iter().filter_map(|entry| audited(shop, entry)));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Some(found),
        }
    }
}

fn audited(shop: &Shop, entry: &AuditEntry) -> Option<Audited> {
    let names = &shop.names;
    let object = entry.object.as_deref()?;
    let product = || names.product(object.strip_prefix("product:")?);
    let text =
        |of: &Option<Value>, member: &str| Some(of.as_ref()?.get(member)?.as_str()?.to_owned());
    let stock = |of: &Option<Value>| of.as_ref()?.get("stock")?.as_i64();
    let action = AuditAction::ALL.iter().find(|action| action.as_str() == entry.action)?;
    Some(match action {
        AuditAction::ProductCreated => Audited::Created(product()?),
        AuditAction::ProductChanged => {
            let price = responses::price(&text(&entry.after, "price")?)?;
            Audited::Changed { product: product()?, price }
        }
        AuditAction::ProductDeleted => Audited::Deleted(product()?),
        AuditAction::ProductReserved => {
            let taken = stock(&entry.before)? - stock(&entry.after)?;
            Audited::Reserved {
                product: product()?,
                quantity: taken.try_into().ok()?,
                user: entry.actor.as_deref()?.into(),
                id: text(&entry.after, "reservation")?,
            }
        }
        AuditAction::FileUploaded => Audited::Uploaded(names.file(&text(&entry.after, "name")?)?),
        AuditAction::FileDeleted => {
            Audited::FileDeleted(names.file(&text(&entry.before, "name")?)?)
        }
        AuditAction::UserRegistered => Audited::Registered(object.into()),
        _ => return None,
    })
}
