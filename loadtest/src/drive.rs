//! The traffic driver: clients whose number and behaviour are changed while they run, by an HTTP
//! API that the gateway's control plane passes on to.
//!
//! `driver` holds the settings, `clients` obey them, `tally` counts, `api` serves. In a
//! `conversation`, somebody sends single requests. The `classroom` has the lessons of the board:
//! `lessons` conducts one, a `lesson_process`, whose state is a `lesson_run`.

mod api;
pub mod args;
mod classroom;
mod clients;
mod connection;
mod conversation;
mod driver;
mod lesson_process;
mod lesson_run;
mod lessons;
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
use classroom::Classroom;
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
    let driver = Arc::new(Driver::new(plan.target, Classroom::new(plan.state), counted));
    let health = HealthBuilder::new(SERVICE, plan.service.instance.clone()).build();
    let shared = Arc::clone(&driver);
    let admit = api::admit(plan.hosts, plan.token);
    let server = Server::bind(&plan.service, health, metrics, admit, move |app| {
        api::mount(app, web::Data::from(Arc::clone(&shared)));
    })?;
    clients::spawn(&driver);
    let restored = Arc::clone(&driver);
    tokio::spawn(async move { restored.lessons.put_back().await });
    let release = async move {
        // One that is over stays in sight no longer than the driver.
        tokio::join!(driver.stop(), driver.lessons.stop());
        driver.people.leave(&driver.target).await;
        Ok::<_, Infallible>(())
    };
    Ok(server.on_stop(release).run_until_stopped().await?)
}
