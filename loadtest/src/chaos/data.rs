//! The work on products, files and accounts: clients who register, reserve, upload and delete, and
//! admins who change the catalogue, beside the clients of sessions and under the same faults.
//!
//! `clients` send requests by `calls` and record the parsed `responses` in a `ledger` of their own.
//! At the end `read_back` reads everything through each instance, the gateway and Nginx, and the
//! audit log; the `checker` evaluates it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::chaos::ledger::{FailedRequest, Interval, Moment};
use crate::chaos::run::Run;
use crate::chaos::users::User;
use calls::{DataCaller, DataLedger};
use checker::Facts;
use clients::DataResult;
use ledger::Via;
use read_back::{Known, Place};
use report::{DataReport, DataResults};
use shop::Shop;

pub mod report;

mod calls;
mod checker;
mod clients;
mod content;
pub(crate) mod ledger;
pub(crate) mod read_back;
mod requests;
mod responses;
mod shop;

/// Clients who change the catalogue, and anonymous readers at each place.
const ADMINS: u64 = 2;
const READERS: u64 = 2;
/// The clocks of this machine and the system's may differ so much.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Seeds of clients begin here, apart from those of the clients of sessions.
const SEEDS: u64 = 1_000_000;

/// The parts of a system that the work uses.
pub(crate) struct Access {
    /// Who changes products and reads the audit log; without one there is no work on products.
    pub(crate) admin: Option<Arc<User>>,
    /// Who reserves units and uploads files.
    pub(crate) users: Vec<Arc<User>>,
    /// Nginx, if it stands in front of the gateway that the run uses.
    pub(crate) nginx: Option<Place>,
    /// How often a visitor registers; `None` if that is too expensive.
    pub(crate) visit_every: Option<Duration>,
    /// Whether writes of unknown outcome are repeated.
    pub(crate) repeats: bool,
}

/// The clients at work.
pub(crate) struct DataWork {
    shop: Arc<Shop>,
    access: Access,
    since: Timestamp,
    clients: JoinSet<DataResult>,
}

/// What was found, and what the report counts together with the sessions.
pub(crate) struct DataDone {
    pub(crate) report: DataReport,
    pub(crate) errors: Vec<FailedRequest>,
}

impl DataWork {
    /// Starts the clients.
    pub(crate) fn start(run: &Arc<Run>, seed: u64, access: Access) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let word = format!("chaos{}", id.get(..12).unwrap_or(&id));
        let shop = Shop::new(Arc::clone(run), word.clone(), access.repeats);
        let mut clients = JoinSet::new();
        let mut seeds = (SEEDS..).map(|number| number.wrapping_add(seed.wrapping_mul(SEEDS)));
        let mut caller = |user: Option<&Arc<User>>| {
            DataCaller::new(&shop, seeds.next().unwrap_or_default(), user.cloned())
        };
        for user in &access.users {
            clients.spawn(clients::shop(caller(Some(user)), Arc::clone(user)));
        }
        if let Some(every) = access.visit_every {
            clients.spawn(clients::visit(caller(None), word, every));
        }
        if let Some(admin) = &access.admin {
            for _ in 0..ADMINS {
                clients.spawn(clients::administrate(caller(Some(admin))));
            }
            for reader in 0..READERS {
                clients.spawn(clients::watch(caller(None)));
                if let Some(Place { via, target }) = &access.nginx {
                    let seed = seed.wrapping_add(SEEDS + reader);
                    let caller = DataCaller::at(&shop, seed, None, via.clone(), target);
                    clients.spawn(clients::watch(caller));
                }
            }
        }
        Self { shop, access, since: Timestamp::now() - CLOCK_SKEW, clients }
    }

    /// Waits for the clients of a run that has stopped, reads everything, and checks it.
    pub(crate) async fn finish(self, instances: Vec<Place>, faults: &[Interval]) -> DataDone {
        let Self { shop, access, since, clients } = self;
        let mut ledger = DataLedger::default();
        let mut known =
            Known { owners: Vec::new(), registered: Vec::new(), admin: access.admin.clone() };
        for result in clients.join_all().await {
            ledger.extend(result.ledger);
            known.owners.extend(result.owners);
            known.registered.extend(result.registered);
        }
        let pending = std::mem::take(&mut ledger.pending);
        ledger.extend(read_back::settle(&shop, pending).await);
        let settled: Moment = shop.run.now();
        let gateway = Place { via: Via::Gateway, target: Arc::clone(&shop.run.target) };
        let mut places = vec![gateway];
        places.extend(access.nginx.clone());
        places.extend(instances);
        ledger.extend(read_back::read_back(&shop, &places, &known).await);
        let audit = match &access.admin {
            Some(admin) => read_back::audit(&shop, admin, since.into()).await,
            None => None,
        };
        let audit_entries = audit.as_ref().map(|entries| entries.len() as u64);
        let facts = Facts { entries: &ledger.entries, audit: audit.as_deref(), settled, faults };
        let findings = checker::check(facts);
        let DataLedger { entries, requests, errors, unknown_resolved, .. } = ledger;
        let results = DataResults { entries, requests, unknown_resolved, audit_entries, findings };
        DataDone { report: DataReport::new(results), errors }
    }
}
