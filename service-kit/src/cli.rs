//! The command line of a service, and its `--health` and `--ready` probes.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches as _};
use reqwest::blocking::Client;
use reqwest::header::HOST;

use crate::tls::install_provider;

/// Shorter than the timeout of container health checks.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Probes the running instance instead of starting one. So a container's health check needs no
/// other program.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub struct ProbeArgs {
    /// Check that the running instance is alive, and exit: 0 if so.
    #[arg(long)]
    health: bool,
    /// Check that the running instance and its dependencies are ready, and exit: 0 if so.
    #[arg(long)]
    ready: bool,
}

/// A probe of the running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Liveness: `/health`.
    Health,
    /// Readiness: `/readyz`.
    Ready,
}

/// How the probed listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// By TLS. Its certificate need not have a name of this machine, so it is not verified: the
    /// probe sends nothing secret, and never leaves the machine.
    Https,
}

impl Scheme {
    /// That of a listener with this certificate.
    pub fn of<T>(certificate: Option<&T>) -> Self {
        if certificate.is_some() { Self::Https } else { Self::Http }
    }
}

impl ProbeArgs {
    /// The probe, if one is requested.
    pub fn probe(self) -> Option<Probe> {
        match self {
            Self { health: true, .. } => Some(Probe::Health),
            Self { ready: true, .. } => Some(Probe::Ready),
            _ => None,
        }
    }
}

/// Parses the command line of a service, whose configuration is in its environment. Exits on
/// `--help`, `--version` and unknown arguments.
pub fn probe_of_service(
    name: &'static str,
    version: &'static str,
    about: &'static str,
) -> Option<Probe> {
    // Set `about` last, or the group's text replaces it.
    let matches =
        ProbeArgs::augment_args(Command::new(name).version(version)).about(about).get_matches();
    ProbeArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).probe()
}

impl Probe {
    /// Sends the probe to this address, with this `Host`. Prints a failure to standard error. Must
    /// not be called within a Tokio runtime.
    pub fn run(self, scheme: Scheme, listen: SocketAddr, host: &str) -> ExitCode {
        match self.send(scheme, listen, host) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                let _unread = writeln!(std::io::stderr(), "{fault}");
                ExitCode::FAILURE
            }
        }
    }

    fn send(self, scheme: Scheme, listen: SocketAddr, host: &str) -> Result<(), String> {
        let path = match self {
            Self::Health => "/health",
            Self::Ready => "/readyz",
        };
        let addr = reachable(listen);
        let name = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let url = format!("{name}://{addr}{path}");
        // The client needs it even for plain HTTP.
        install_provider();
        // `http_proxy` and the like do not apply to a local address.
        let client = Client::builder().timeout(TIMEOUT).no_proxy();
        // The address is this process's own, and its certificate is for another name.
        let client = client.tls_danger_accept_invalid_certs(true).build();
        let response = client.and_then(|client| client.get(&url).header(HOST, host).send());
        let response = response.map_err(|error| format!("{url}: {}", with_causes(&error)))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(format!("{url}: {}\n{}", response.status(), response.text().unwrap_or_default()))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Loopback for an instance that listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn probe_server(probe: Probe, response: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let addr = listener.local_addr().expect("bound");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(response.as_bytes()).expect("sent");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let found = probe.send(Scheme::Http, addr, "localhost");
        (found, served.join().expect("served"))
    }

    #[test]
    fn a_200_is_healthy() {
        let (result, request) =
            probe_server(Probe::Health, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(result, Ok(()));
        assert!(
            request.starts_with("GET /health ") && request.contains("host: localhost"),
            "{request}"
        );
    }

    #[test]
    fn a_failure_is_reported() {
        let response = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nredis";
        let (result, request) = probe_server(Probe::Ready, response);
        let fault = result.expect_err("not ready");
        assert!(fault.contains("503") && fault.contains("redis"), "{fault}");
        assert!(request.starts_with("GET /readyz "), "{request}");
        let unused = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        assert!(Probe::Health.send(Scheme::Http, unused, "localhost").is_err());
    }
}
