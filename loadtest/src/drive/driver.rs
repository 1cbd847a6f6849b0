//! What the clients are to do, and what is known of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto_contracts::PoolName;
use proto_contracts::control::{Traffic, TrafficSettings};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::drive::args::TargetUrl;
use crate::drive::classroom::Classroom;
use crate::drive::conversation::People;
use crate::drive::metrics::DriverMetrics;
use crate::drive::tally::Tally;
use crate::outcome::ErrorKind;

/// How long a stop waits for the clients. Later ones go on to delete their sessions.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the clients are to do. All of them watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) running: bool,
    pub(super) settings: TrafficSettings,
    /// Clients that have begun, and have not deleted their sessions yet.
    active: u16,
}

impl Orders {
    /// Whether the client with this number, from 0, is to send requests.
    pub(super) fn want(&self, number: u16) -> bool {
        self.running && number < self.settings.clients
    }
}

/// The state of the driver, shared by clients and API.
pub(super) struct Driver {
    pub(super) target: TargetUrl,
    pub(super) people: People,
    pub(super) lessons: Classroom,
    /// What a lesson has paused. Locked for a moment; never across an await.
    paused: Mutex<Option<TrafficSettings>>,
    orders: watch::Sender<Orders>,
    /// Locked for a count, or for a copy; never across an await.
    tally: Mutex<Tally>,
    sessions: AtomicU32,
    pub(super) metrics: DriverMetrics,
}

impl Driver {
    /// Without traffic.
    pub(super) fn new(target: TargetUrl, lessons: Classroom, metrics: DriverMetrics) -> Self {
        let orders = Orders { running: false, settings: TrafficSettings::default(), active: 0 };
        Self {
            target,
            people: People::new(),
            lessons,
            paused: Mutex::default(),
            orders: watch::Sender::new(orders),
            tally: Mutex::new(Tally::starting_at(Instant::now())),
            sessions: AtomicU32::new(0),
            metrics,
        }
    }

    /// Settings and figures.
    pub(super) fn show(&self) -> Traffic {
        let orders = *self.orders.borrow();
        Traffic {
            driver: true,
            running: orders.running,
            settings: orders.settings,
            sessions: self.sessions.load(Ordering::Relaxed),
            pools: self.tally().show(Instant::now()),
        }
    }

    /// Starts the clients, or changes what they do. The settings are within their bounds.
    pub(super) fn run(&self, settings: TrafficSettings) {
        // A lesson that runs has nothing to resume any more.
        self.paused().take();
        self.drive(settings);
    }

    fn drive(&self, settings: TrafficSettings) {
        let mut started = false;
        self.orders.send_modify(|orders| {
            started = !orders.running;
            if started {
                *self.tally() = Tally::starting_at(Instant::now());
            }
            *orders = Orders { running: true, settings, ..*orders };
        });
        let TrafficSettings { clients, think_time_ms, .. } = settings;
        tracing::info!(started, clients, think_time_ms, "traffic");
    }

    /// Stops the clients for a lesson, so that the board shows its requests alone.
    pub(super) async fn pause(&self) {
        let orders = *self.orders.borrow();
        if orders.running {
            *self.paused() = Some(orders.settings);
            self.halt().await;
        }
    }

    /// Starts the clients again that were paused, unless somebody has changed the traffic since.
    pub(super) fn resume(&self) {
        let paused = self.paused().take();
        if let Some(settings) = paused {
            self.drive(settings);
        }
    }

    /// Whether a lesson has stopped the clients.
    pub(super) fn is_paused(&self) -> bool {
        self.paused().is_some()
    }

    /// Stops the clients, and waits until they have deleted their sessions, for some seconds.
    pub(super) async fn stop(&self) {
        self.paused().take();
        self.halt().await;
    }

    async fn halt(&self) {
        let mut stopped = false;
        self.orders.send_modify(|orders| {
            stopped = orders.running;
            orders.running = false;
        });
        let mut orders = self.orders.subscribe();
        let ended = timeout(STOP_TIMEOUT, orders.wait_for(|orders| orders.active == 0)).await;
        if stopped {
            tracing::info!(all_ended = ended.is_ok(), "traffic stopped");
        }
    }

    /// What the clients are to do, as it changes.
    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    /// Counts the client as active if it is wanted still; a stop from now on waits for it.
    pub(super) fn enter(&self, number: u16) -> bool {
        self.orders.send_if_modified(|orders| {
            let wanted = orders.want(number);
            orders.active += u16::from(wanted);
            wanted
        })
    }

    /// The client has left nothing behind.
    pub(super) fn exit(&self) {
        self.orders.send_modify(|orders| orders.active -= 1);
    }

    /// Counts a request.
    pub(super) fn count(&self, pool: PoolName, outcome: Result<(), ErrorKind>) {
        self.metrics.count(pool, outcome.is_ok());
        self.tally().count(Instant::now(), pool, outcome);
    }

    /// A session was created.
    pub(super) fn session_created(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session was deleted, has expired, or is given up.
    pub(super) fn session_gone(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Valid after a panic elsewhere, too.
    fn paused(&self) -> MutexGuard<'_, Option<TrafficSettings>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its counts stay consistent after a panic elsewhere.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
