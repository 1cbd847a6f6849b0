//! The traffic driver: clients whose number and behaviour are changed while they run, by an HTTP
//! API that the gateway's control plane passes on to.
//!
//! `driver` holds the settings, `clients` obey them, `tally` counts, `api` serves. In a
//! `conversation`, somebody sends single requests.

mod api;
pub mod args;
mod clients;
mod connection;
mod conversation;
mod driver;
mod metrics;
mod tally;

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::web;
use anyhow::Result;
use service_kit::health::HealthBuilder;
use service_kit::server::Server;
use service_kit::telemetry::{self, Metrics};

use args::{DrivePlan, SERVICE};
use driver::Driver;
use metrics::DriverMetrics;

/// Serves the API, and runs the clients that it asks for, until SIGTERM or SIGINT. Then the clients
/// delete their sessions.
///
/// # Errors
/// When the listener is not free, or the log is not writable.
pub(crate) async fn drive(plan: DrivePlan) -> Result<()> {
    let _log = telemetry::start(&plan.service.log_filter, None)?;
    let metrics = Metrics::new(SERVICE, &plan.service.instance)?;
    let counted = DriverMetrics::register(metrics.registry())?;
    let driver = Arc::new(Driver::new(plan.target, counted));
    let health = HealthBuilder::new(SERVICE, plan.service.instance.clone()).build();
    let shared = Arc::clone(&driver);
    let admit = api::admit(plan.hosts, plan.token);
    let server = Server::bind(&plan.service, health, metrics, admit, move |app| {
        api::mount(app, web::Data::from(Arc::clone(&shared)));
    })?;
    clients::spawn(&driver);
    let release = async move {
        driver.stop().await;
        driver.people.leave(&driver.target).await;
        Ok::<_, Infallible>(())
    };
    Ok(server.on_stop(release).run_until_stopped().await?)
}
