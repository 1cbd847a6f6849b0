//! `/health`, `/livez` and `/readyz`.
//!
//! `/health` is what gateways ask: it depends on nothing, because a database that is away is no reason to take every
//! instance out of the pool. `/readyz` is what people and orchestrators ask: it tells each dependency's state.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};
use futures_util::future::{BoxFuture, join_all};
use proto_contracts::headers::{
    DEPLOYMENT, DRAIN_DECISION, DRAINING, SERVICE, SERVICE_PROTOCOL, SERVICE_VERSION, WEIGHT,
};
use proto_contracts::health::{Dependency, HEALTHY, PROTOCOL, Readiness, Status};
use proto_contracts::{DeploymentName, InstanceName, WeightDecision};
use tokio::sync::{Mutex, watch};

use crate::answer;
use crate::drain::{Drain, Moment};
use crate::problem::ApiError;
use crate::routes::{self, get};
use crate::telemetry::Metrics;

/// How long a probe may take before its dependency counts as down.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// For how long the result of the probes is told again without probing.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What is wrong with a dependency, in words that carry no secret.
pub type Fault = Cow<'static, str>;

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>;
type Report = (HeaderName, Box<dyn Fn() -> u64 + Send + Sync>);

/// Whether the service is of use without a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Some calls fail without it: readiness fails too.
    Required,
    /// It makes calls faster; its state is told and readiness goes by the others.
    Optional,
}

/// The health of one instance. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    service: &'static str,
    instance: InstanceName,
    probes: Vec<(&'static str, Need, Probe)>,
    reports: Vec<Report>,
    drain: watch::Sender<Drain>,
    weight: watch::Sender<WeightDecision>,
    // Held while probing, so that any number of callers cause one probe.
    last: Mutex<Option<Found>>,
}

/// What the last round of probes found.
struct Found {
    at: Instant,
    status: Status,
    dependencies: BTreeMap<String, Dependency>,
}

/// Tells when answers that could last for ever must end: the instance stops, or its drain is over.
#[derive(Clone, Debug)]
pub struct Draining(watch::Receiver<Drain>);

impl Draining {
    /// Waits until then; at once when it has begun.
    pub async fn begun(&mut self) {
        loop {
            let end = self.0.borrow_and_update().streams_end();
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // An instance whose health is gone is gone itself.
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Collects an instance's probes.
pub struct HealthBuilder {
    service: &'static str,
    instance: InstanceName,
    probes: Vec<(&'static str, Need, Probe)>,
    reports: Vec<Report>,
}

impl HealthBuilder {
    /// For a service and this instance of it.
    pub fn new(service: &'static str, instance: InstanceName) -> Self {
        Self { service, instance, probes: Vec::new(), reports: Vec::new() }
    }

    /// Adds a dependency and how to find out whether it answers; the probe is cut off after a second.
    pub fn dependency<F>(
        mut self,
        name: &'static str,
        need: Need,
        probe: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        self.probes.push((name, need, Box::new(move || Box::pin(probe()))));
        self
    }

    /// Adds a number that every answer to `/health` carries in a header: how many there are of something that lives in the
    /// instance, so that a drain is over early when all are 0. It must cost nothing to find out.
    pub fn report(mut self, header: &'static str, number: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.reports.push((HeaderName::from_static(header), Box::new(number)));
        self
    }

    /// The finished health.
    pub fn build(self) -> Health {
        let Self { service, instance, probes, reports } = self;
        let (drain, weight, last) = (watch::Sender::default(), watch::Sender::default(), Mutex::default());
        Health(Arc::new(Inner { service, instance, probes, reports, drain, weight, last }))
    }
}

impl Health {
    /// Which instance this is.
    pub fn instance(&self) -> &InstanceName {
        &self.0.instance
    }

    /// From now on the instance is shutting down: readiness fails, and endless answers end.
    pub fn drain(&self) {
        self.0.drain.send_modify(Drain::stop);
    }

    /// From now on the instance tells that it leaves, and readiness fails; it serves on.
    pub fn leave(&self) {
        self.0.drain.send_modify(Drain::leave);
    }

    /// From now on the instance announces that it is drained: its keys stay until the deadline, or until nothing is
    /// left. Returns whether the decision holds.
    pub(crate) fn begin_drain(&self, deadline: Option<Duration>, decided_ms: Option<u64>) -> bool {
        self.0.drain.send_if_modified(|drain| drain.begin(Moment::now(), deadline, decided_ms))
    }

    /// The instance serves as usual again, unless it stops. Returns whether the decision holds.
    pub(crate) fn end_drain(&self, decided_ms: Option<u64>) -> bool {
        self.0.drain.send_if_modified(|drain| drain.end(Moment::now(), decided_ms))
    }

    /// From now on the instance announces this weight, unless a later decision is known. Returns whether it does.
    pub(crate) fn set_weight(&self, decision: WeightDecision) -> bool {
        self.0.weight.send_if_modified(|weight| {
            let holds = decision.decided_ms >= weight.decided_ms;
            if holds {
                *weight = decision;
            }
            holds
        })
    }

    /// What gateways are told. `active` is how many requests there are.
    fn announced(&self, active: u64) -> Drain {
        let now = Moment::now();
        let is_empty = active == 0 && self.0.reports.iter().all(|(_, number)| number() == 0);
        if is_empty {
            self.0.drain.send_if_modified(|drain| drain.finish_empty(now));
        }
        *self.0.drain.borrow()
    }

    /// For answers that would last for longer than the instance does.
    pub fn draining(&self) -> Draining {
        Draining(self.0.drain.subscribe())
    }

    /// Probes all dependencies at once, or tells what a probe found less than a second ago.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.0.last.lock().await;
        let found = match last.take().filter(|found| found.at.elapsed() < FRESH_FOR) {
            Some(found) => found,
            None => self.probe_all().await,
        };
        let found = last.insert(found);
        let status = if self.is_draining() { Status::Draining } else { found.status };
        self.answer(status, found.dependencies.clone())
    }

    async fn probe_all(&self) -> Found {
        let found = join_all(self.0.probes.iter().map(|(name, need, probe)| async move {
            let result = tokio::time::timeout(PROBE_TIMEOUT, probe()).await;
            let fault = match result {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.into_owned()),
                Err(_) => Some(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
            };
            (*name, *need, fault)
        }))
        .await;
        let down = found.iter().any(|(_, need, fault)| *need == Need::Required && fault.is_some());
        let dependencies = found.into_iter().map(|(name, _, detail)| {
            let status = if detail.is_some() { Status::Down } else { Status::Up };
            (name.to_owned(), Dependency { status, detail })
        });
        let status = if down { Status::Down } else { Status::Up };
        Found { at: Instant::now(), status, dependencies: dependencies.collect() }
    }

    fn is_draining(&self) -> bool {
        self.0.drain.borrow().is_over(Instant::now())
    }

    fn answer(&self, status: Status, dependencies: BTreeMap<String, Dependency>) -> Readiness {
        Readiness { status, service: self.0.service.to_owned(), instance: self.0.instance.clone(), dependencies }
    }
}

/// Mounts the three paths; [`Server`](crate::server::Server) does so for every service.
pub(crate) fn mount(app: &mut web::ServiceConfig, health: Health) {
    app.app_data(web::Data::new(health));
    routes::mount_at(app, "/health", [get(healthy)]);
    routes::mount_at(app, "/livez", [get(livez)]);
    routes::mount_at(app, "/readyz", [get(readyz)]);
}

async fn healthy(
    health: web::Data<Health>,
    metrics: web::Data<Metrics>,
    deployment: web::Data<Option<DeploymentName>>,
) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((SERVICE, health.0.service));
    answer.insert_header((SERVICE_VERSION, env!("CARGO_PKG_VERSION")));
    answer.insert_header((SERVICE_PROTOCOL, PROTOCOL.to_string()));
    answer.insert_header((WEIGHT, health.0.weight.borrow().to_string()));
    if let Some(deployment) = deployment.as_ref() {
        answer.insert_header((DEPLOYMENT, deployment.to_string()));
    }
    answer.content_type("text/plain").insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    for (name, number) in &health.0.reports {
        answer.insert_header((name.clone(), HeaderValue::from(number())));
    }
    // This request is one of those that are counted.
    let drain = health.announced(metrics.active().saturating_sub(1));
    if let Some(left) = drain.seconds_left(Instant::now()) {
        answer.insert_header((DRAINING, left.to_string()));
    }
    if let Some(decision) = drain.decision() {
        answer.insert_header((DRAIN_DECISION, decision.to_string()));
    }
    answer.body(HEALTHY)
}

/// A process that answers is alive, whatever else is away.
async fn livez(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let status = if health.is_draining() { Status::Draining } else { Status::Up };
    answer::no_store(StatusCode::OK, &health.answer(status, BTreeMap::new()))
}

async fn readyz(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let readiness = health.readiness().await;
    let status = if readiness.status == Status::Up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::no_store(status, &readiness)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn name() -> InstanceName {
        "test-1".parse().expect("a name")
    }

    #[tokio::test]
    async fn readiness_goes_by_what_is_required() {
        let health = HealthBuilder::new("test-svc", name())
            .dependency("cache", Need::Optional, || async { Err("refused".into()) })
            .dependency("database", Need::Required, || async { Ok(()) })
            .build();
        let readiness = health.readiness().await;
        assert_eq!(readiness.status, Status::Up);
        assert_eq!(readiness.dependencies["cache"].detail.as_deref(), Some("refused"));
        let mut draining = health.draining();
        health.drain();
        assert_eq!(health.readiness().await.status, Status::Draining);
        draining.begun().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_down_and_asked_once_for_all_callers() {
        static PROBES: AtomicUsize = AtomicUsize::new(0);
        let health = HealthBuilder::new("test-svc", name())
            .dependency("database", Need::Required, || async {
                PROBES.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            })
            .build();
        let answers = join_all((0..10).map(|_| health.readiness())).await;
        assert!(answers.iter().all(|readiness| readiness.status == Status::Down));
        assert_eq!(PROBES.load(Ordering::Relaxed), 1);
    }
}
