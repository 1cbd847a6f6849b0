//! `/health`, `/livez` and `/readyz`.
//!
//! `/health` is for gateways. It checks no dependency: a database outage must not remove every
//! instance from the pool. `/readyz` is for people and orchestrators. It reports the state of each
//! dependency.

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

use crate::problem::ApiError;
use crate::response;
use crate::routes::{self, get};
use crate::telemetry::Metrics;

mod drain;

use drain::{Drain, Moment};

/// After this time a probe's dependency counts as down.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the probes' results are cached.
const PROBE_CACHE_TTL: Duration = Duration::from_secs(1);

/// What is wrong with a dependency. Must not contain a secret.
pub type Fault = Cow<'static, str>;

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>;
type Report = (HeaderName, Box<dyn Fn() -> u64 + Send + Sync>);

/// Whether readiness depends on a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Some requests fail without it, so readiness fails too.
    Required,
    /// Its state is reported and does not change readiness.
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
    figures: Vec<Report>,
    drain: watch::Sender<Drain>,
    weight: watch::Sender<WeightDecision>,
    // Held while probing, so that concurrent callers share one probe.
    cached: Mutex<Option<ProbeResults>>,
}

struct ProbeResults {
    at: Instant,
    status: Status,
    dependencies: BTreeMap<String, Dependency>,
}

/// Signals when endless responses must end: the instance stops, or its drain is over.
#[derive(Clone, Debug)]
pub struct Draining(watch::Receiver<Drain>);

impl Draining {
    /// Waits for the signal; returns at once after it.
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
                // The sender is dropped only with the instance.
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Builds a [`Health`].
pub struct HealthBuilder {
    service: &'static str,
    instance: InstanceName,
    probes: Vec<(&'static str, Need, Probe)>,
    reports: Vec<Report>,
    figures: Vec<Report>,
}

impl HealthBuilder {
    /// `service` is the name in `X-Service`.
    pub fn new(service: &'static str, instance: InstanceName) -> Self {
        Self { service, instance, probes: Vec::new(), reports: Vec::new(), figures: Vec::new() }
    }

    /// Adds a dependency and its probe, which times out after a second.
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

    /// Adds a count to every `/health` response, as a header: of things that live in the instance,
    /// such as sessions. A drain ends early once all counts are 0. `number` must be cheap.
    pub fn report(
        mut self,
        header: &'static str,
        number: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.reports.push((HeaderName::from_static(header), Box::new(number)));
        self
    }

    /// Adds a number to every `/health` response, as a header, that no drain waits for. `number`
    /// must be cheap.
    pub fn figure(
        mut self,
        header: &'static str,
        number: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.figures.push((HeaderName::from_static(header), Box::new(number)));
        self
    }

    /// The finished `Health`.
    pub fn build(self) -> Health {
        let Self { service, instance, probes, reports, figures } = self;
        let (drain, weight, cached) =
            (watch::Sender::default(), watch::Sender::default(), Mutex::default());
        Health(Arc::new(Inner {
            service,
            instance,
            probes,
            reports,
            figures,
            drain,
            weight,
            cached,
        }))
    }
}

impl Health {
    /// The name of this instance.
    pub fn instance(&self) -> &InstanceName {
        &self.0.instance
    }

    /// Begins the shutdown: readiness fails, and endless responses end.
    pub fn drain(&self) {
        self.0.drain.send_modify(Drain::stop);
    }

    /// Begins the pre-stop delay: readiness fails and `/health` announces the stop, while the
    /// instance serves on.
    pub fn begin_pre_stop(&self) {
        self.0.drain.send_modify(Drain::begin_pre_stop);
    }

    /// Begins a drain, announced by `/health`: the keys stay until the deadline, or until no work
    /// is left. Returns whether the decision was accepted.
    pub(crate) fn begin_drain(&self, deadline: Option<Duration>, decided_ms: Option<u64>) -> bool {
        self.0.drain.send_if_modified(|drain| drain.begin(Moment::now(), deadline, decided_ms))
    }

    /// Ends a drain, unless the instance is stopping. Returns whether the decision was accepted.
    pub(crate) fn end_drain(&self, decided_ms: Option<u64>) -> bool {
        self.0.drain.send_if_modified(|drain| drain.end(Moment::now(), decided_ms))
    }

    /// Sets the weight that `/health` announces, unless a later decision is known. Returns whether
    /// it was accepted.
    pub(crate) fn set_weight(&self, decision: WeightDecision) -> bool {
        self.0.weight.send_if_modified(|weight| {
            let is_later = decision.decided_ms >= weight.decided_ms;
            if is_later {
                *weight = decision;
            }
            is_later
        })
    }

    /// The drain state to announce. `active` is the number of requests in flight.
    fn current_drain(&self, active: u64) -> Drain {
        let now = Moment::now();
        let is_empty = active == 0 && self.0.reports.iter().all(|(_, number)| number() == 0);
        if is_empty {
            self.0.drain.send_if_modified(|drain| drain.finish_empty(now));
        }
        *self.0.drain.borrow()
    }

    /// For endless responses.
    pub fn draining(&self) -> Draining {
        Draining(self.0.drain.subscribe())
    }

    /// Probes all dependencies concurrently, or returns results less than a second old.
    pub async fn readiness(&self) -> Readiness {
        let mut cached = self.0.cached.lock().await;
        let results = match cached.take().filter(|results| results.at.elapsed() < PROBE_CACHE_TTL) {
            Some(results) => results,
            None => self.probe_all().await,
        };
        let results = cached.insert(results);
        let status = if self.is_draining() { Status::Draining } else { results.status };
        self.report(status, results.dependencies.clone())
    }

    async fn probe_all(&self) -> ProbeResults {
        let found = join_all(self.0.probes.iter().map(|(name, need, probe)| async move {
            let result = tokio::time::timeout(PROBE_TIMEOUT, probe()).await;
            let fault = match result {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.into_owned()),
                Err(_) => Some(format!("no response within {} s", PROBE_TIMEOUT.as_secs())),
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
        ProbeResults { at: Instant::now(), status, dependencies: dependencies.collect() }
    }

    fn is_draining(&self) -> bool {
        self.0.drain.borrow().is_over(Instant::now())
    }

    fn report(&self, status: Status, dependencies: BTreeMap<String, Dependency>) -> Readiness {
        Readiness {
            status,
            service: self.0.service.to_owned(),
            instance: self.0.instance.clone(),
            dependencies,
        }
    }
}

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
    let mut response = HttpResponse::Ok();
    response.insert_header((SERVICE, health.0.service));
    response.insert_header((SERVICE_VERSION, env!("CARGO_PKG_VERSION")));
    response.insert_header((SERVICE_PROTOCOL, PROTOCOL.to_string()));
    response.insert_header((WEIGHT, health.0.weight.borrow().to_string()));
    if let Some(deployment) = deployment.as_ref() {
        response.insert_header((DEPLOYMENT, deployment.to_string()));
    }
    response
        .content_type("text/plain")
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    for (name, number) in health.0.reports.iter().chain(&health.0.figures) {
        response.insert_header((name.clone(), HeaderValue::from(number())));
    }
    // The metric counts this request, too.
    let drain = health.current_drain(metrics.active().saturating_sub(1));
    if let Some(left) = drain.seconds_left(Instant::now()) {
        response.insert_header((DRAINING, left.to_string()));
    }
    if let Some(decision) = drain.decision() {
        response.insert_header((DRAIN_DECISION, decision.to_string()));
    }
    response.body(HEALTHY)
}

/// Checks no dependency: a process that responds is alive.
async fn livez(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let status = if health.is_draining() { Status::Draining } else { Status::Up };
    response::no_store(StatusCode::OK, &health.report(status, BTreeMap::new()))
}

async fn readyz(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let readiness = health.readiness().await;
    let status = if readiness.status == Status::Up {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    response::no_store(status, &readiness)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn name() -> InstanceName {
        "test-1".parse().expect("a name")
    }

    #[tokio::test]
    async fn readiness_depends_on_required_dependencies_only() {
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
    async fn a_probe_that_hangs_is_down_and_runs_once_for_all_callers() {
        static PROBES: AtomicUsize = AtomicUsize::new(0);
        let health = HealthBuilder::new("test-svc", name())
            .dependency("database", Need::Required, || async {
                PROBES.fetch_add(1, Ordering::Relaxed);
                std::future::pending().await
            })
            .build();
        let reports = join_all((0..10).map(|_| health.readiness())).await;
        assert!(reports.iter().all(|readiness| readiness.status == Status::Down));
        assert_eq!(PROBES.load(Ordering::Relaxed), 1);
    }
}
