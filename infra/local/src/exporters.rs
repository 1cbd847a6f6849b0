//! The Prometheus exporters of Redis, PostgreSQL and Nginx. The stack runs without those that are
//! not installed.

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use crate::component::{Component, Exporter};
use crate::error::StackError;
use crate::ports::{Ports, loopback};
use crate::process::Launch;
use crate::programs;
use crate::redis;
use crate::settings::{DATABASE_ROLE, Settings};

/// The installed exporters with their ports.
pub(crate) fn installed(ports: &Ports) -> impl Iterator<Item = (Component, u16)> {
    let installed = Exporter::ALL.into_iter().filter(|exporter| {
        let (program, package) = program(*exporter);
        programs::find(program, package).is_ok()
    });
    installed.map(|exporter| (Component::Exporter(exporter), ports.exporter(exporter)))
}

/// How an exporter is started.
pub(crate) fn launch(settings: &Settings, exporter: Exporter) -> Result<Launch, StackError> {
    let (program, package) = program(exporter);
    let ports = &settings.ports;
    let listen = format!("--web.listen-address={}", loopback(ports.exporter(exporter)));
    let (args, env) = match exporter {
        // No fixed server: each scrape names one.
        Exporter::Redis => (vec![listen, "--redis.addr=".to_owned()], Vec::new()),
        Exporter::Postgres => {
            let uri = format!("127.0.0.1:{}/{}?sslmode=disable", ports.postgres, DATABASE_ROLE);
            let password = settings.secrets.database_password.expose_secret().to_owned();
            let variables = [("URI", uri), ("USER", DATABASE_ROLE.to_owned()), ("PASS", password)];
            let variables =
                variables.map(|(name, value)| (format!("DATA_SOURCE_{name}"), value.into()));
            (vec![listen], variables.to_vec())
        }
        Exporter::Nginx => {
            let counters =
                format!("--nginx.scrape-uri=http://{}/nginx_status", loopback(ports.nginx_status));
            (vec![listen, counters, "--nginx.retries=5".to_owned()], Vec::new())
        }
    };
    Ok(Launch {
        program: programs::find(program, package)?,
        args: args.into_iter().map(Into::into).collect(),
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(Component::Exporter(exporter)),
    })
}

/// A scrape target of Prometheus.
pub(crate) struct Target {
    /// The port of the exporter.
    pub(crate) port: u16,
    pub(crate) job: &'static str,
    /// The component whose metrics it exports.
    pub(crate) instance: Component,
    /// The server's URL, where one exporter reads several.
    pub(crate) server: Option<String>,
}

/// The scrape targets of the installed exporters.
pub(crate) fn targets(settings: &Settings) -> Vec<Target> {
    let ports = &settings.ports;
    let mut found = Vec::new();
    for (component, port) in installed(ports) {
        match component {
            Component::Exporter(Exporter::Postgres) => {
                found.push(Target {
                    port,
                    job: "postgres",
                    instance: Component::Postgres,
                    server: None,
                });
            }
            Component::Exporter(Exporter::Nginx) => {
                found.push(Target { port, job: "nginx", instance: Component::Nginx, server: None });
            }
            _ => {
                let servers = redis::servers(settings)
                    .into_iter()
                    .chain([(Component::RedisCache, ports.redis_cache)]);
                let keep = servers.filter(|(server, _)| !matches!(server, Component::Sentinel(_)));
                found.extend(keep.map(|(instance, of_server)| {
                    let server = Some(format!("redis://{}", loopback(of_server)));
                    Target { port, job: "redis", instance, server }
                }));
            }
        }
    }
    found
}

/// The program, and Debian's package of it.
fn program(exporter: Exporter) -> (&'static str, &'static str) {
    let name = match exporter {
        Exporter::Redis => "prometheus-redis-exporter",
        Exporter::Postgres => "prometheus-postgres-exporter",
        Exporter::Nginx => "prometheus-nginx-exporter",
    };
    (name, name)
}
