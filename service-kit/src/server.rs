//! The HTTP server of a service: binds its listener and shuts down gracefully.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::future::BoxFuture;
use proto_contracts::WeightDecision;

use crate::config::ServiceConfig;
use crate::connection;
use crate::edge::{Admit, Edge};
use crate::error_pages;
use crate::health::{self, Health};
use crate::internal;
use crate::problem::ApiError;
use crate::routes::{self, get};
use crate::telemetry::{self, Metrics};

/// How long an idle connection is kept. Longer than the gateway's 50 s: the client must close
/// first, or a request could race with the close.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed connection may take to be torn down.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same by TLS: [`ClosesAfter`](crate::connection::ClosesAfter) cannot close such a connection
/// sooner, and a browser waits for the end of a WebSocket for two seconds at most.
const DISCONNECT_TIMEOUT_BY_TLS: Duration = Duration::from_millis(500);
/// How long the release of shared resources at the end may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
/// Length of the accept queue.
const BACKLOG: u32 = 2048;

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
pub struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

/// A bound server that does not run yet; requests wait in the accept queue.
#[must_use = "it serves only once it runs"]
pub struct Server {
    server: actix_web::dev::Server,
    health: Health,
    addr: SocketAddr,
    metrics: Metrics,
    announce: Duration,
    start: BoxFuture<'static, ()>,
    release: BoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>>,
}

impl Server {
    /// Binds the listener. `api` mounts the service's endpoints and is called once per worker, so
    /// workers share what it captures.
    ///
    /// HTTP/1.1 only. The framework limits a header to 96 fields and 128 KiB; [`body`](crate::body)
    /// limits bodies.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        config: &ServiceConfig,
        health: Health,
        metrics: Metrics,
        admit: Box<Admit>,
        api: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Result<Self, BindError> {
        Self::assemble(None, config, health, metrics, admit, api)
            .map_err(|source| BindError { addr: config.listen, source })
    }

    /// Serves on an open listener. `admit` may reject requests.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn on_guarded(
        listener: TcpListener,
        config: &ServiceConfig,
        health: Health,
        metrics: Metrics,
        admit: Box<Admit>,
        api: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        Self::assemble(Some(listener), config, health, metrics, admit, api)
    }

    fn assemble(
        listener: Option<TcpListener>,
        config: &ServiceConfig,
        health: Health,
        metrics: Metrics,
        admit: Box<Admit>,
        api: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let edge = Edge::new(config.instance.clone(), metrics.clone(), admit);
        health.set_weight(WeightDecision { weight: config.weight, decided_ms: 0 });
        let (shared, counted) = (health.clone(), metrics.clone());
        let token = config.instance_token.clone();
        let deployment = web::Data::new(config.deployment.clone());
        let app = move || {
            let (health, metrics) = (shared.clone(), metrics.clone());
            App::new()
                .configure(|app| {
                    // First, since most requests are for it.
                    api(app);
                    health::mount(app, health);
                    app.app_data(web::Data::new(metrics));
                    app.app_data(deployment.clone());
                    if let Some(token) = &token {
                        internal::mount(app, token.clone());
                    }
                    routes::mount_at(app, "/metrics", [get(scrape)]);
                    error_pages::mount(app);
                })
                .default_service(web::to(routes::not_found))
                .wrap(edge.clone())
        };
        let http = HttpServer::new(app)
            .workers(config.workers.get())
            .backlog(BACKLOG)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEADER_TIMEOUT)
            .client_disconnect_timeout(match config.tls {
                None => DISCONNECT_TIMEOUT,
                Some(_) => DISCONNECT_TIMEOUT_BY_TLS,
            })
            // By default the framework keeps serving a half-closed connection and notices a
            // disconnected client only at its second write: for streams, heartbeats later. Gateways
            // never half-close, so end of input means that the client disconnected. Its stream slot
            // is freed at once; a handler in progress continues (`edge`).
            .h1_allow_half_closed(false)
            .on_connect(connection::store)
            .tcp_nodelay(true)
            .shutdown_timeout(config.shutdown_timeout.as_secs())
            // `run_until_stopped` handles signals: readiness must fail before the listener closes.
            .disable_signals();
        let http = match (listener, &config.tls) {
            (Some(listener), None) => http.listen(listener)?,
            (None, None) => http.bind(config.listen)?,
            (Some(listener), Some(tls)) => {
                http.listen_rustls_0_23(listener, tls.server_config())?
            }
            (None, Some(tls)) => http.bind_rustls_0_23(config.listen, tls.server_config())?,
        };
        if let Some(tls) = config.tls.clone() {
            tokio::spawn(tls.follow());
        }
        let addr = http.addrs().first().copied().unwrap_or(config.listen);
        let start = Box::pin(async {});
        let release = Box::pin(async { Ok(()) });
        Ok(Self {
            server: http.run(),
            health,
            addr,
            metrics: counted,
            announce: config.announce,
            start,
            release,
        })
    }

    /// Releases shared resources, such as leases, after the last request. It may take three
    /// seconds. The HTTP workers and their runtimes have ended by then, and with them all
    /// connections that they opened.
    pub fn on_stop<E: Error + Send + Sync + 'static>(
        self,
        release: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        Self { release: Box::pin(async { Ok(release.await?) }), ..self }
    }

    /// Accepts no connection before this future has ended, so it must end soon.
    pub fn start_after(self, start: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { start: Box::pin(start), ..self }
    }

    /// The bound address, with the real port where port 0 was configured.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until SIGTERM or SIGINT, then stops in four steps:
    ///
    /// 1. *announce*: the pre-stop delay. Readiness fails and health responses announce the stop,
    ///    while it serves on;
    /// 2. *drain*: the listener closes and requests in flight finish;
    /// 3. *release*: see [`on_stop`](Self::on_stop);
    /// 4. *close*: this returns.
    ///
    /// During the pre-stop delay, gateways stop sending requests, so none meets a closed listener.
    /// A second signal ends the delay, and SIGINT skips it.
    ///
    /// # Errors
    /// When signal handlers cannot be installed, or the server ends by itself.
    pub async fn run_until_stopped(self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (health, announce) = (self.health.clone(), self.announce);
        self.run_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => return,
            }
            if announce.is_zero() {
                return;
            }
            tracing::info!(seconds = announce.as_secs(), "pre-stop delay");
            health.begin_pre_stop();
            tokio::select! {
                () = tokio::time::sleep(announce) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    }

    /// Serves until `stop` resolves. Then readiness fails, the listener and idle connections close,
    /// and requests in flight finish within the shutdown timeout or are cut off. Finally shared
    /// resources are released.
    ///
    /// # Errors
    /// When the server ends by itself.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { mut server, health, addr, metrics, start, release, .. } = self;
        start.await;
        tracing::info!(%addr, instance = %health.instance(), "listening");
        let result = tokio::select! {
            // Shared resources are released even after a failure.
            ended = &mut server => ended,
            () = stop => {
                tracing::info!("stopping");
                health.drain();
                let stopped = server.handle().stop(true);
                tokio::join!(server, stopped).0
            }
        };
        match metrics.active() {
            0 => {}
            requests => {
                tracing::warn!(requests, "requests in flight were cut off at the shutdown timeout")
            }
        }
        match tokio::time::timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(cause = telemetry::chain(&*error), "not everything was released")
            }
            Err(_) => tracing::warn!(cause = "timed out", "not everything was released"),
        }
        tracing::info!("stopped");
        result
    }
}

/// `GET /metrics`.
async fn scrape(metrics: web::Data<Metrics>) -> Result<HttpResponse, ApiError> {
    let text = metrics.render().map_err(ApiError::internal)?;
    Ok(HttpResponse::build(StatusCode::OK)
        .insert_header((CONTENT_TYPE, prometheus::TEXT_FORMAT))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text))
}
