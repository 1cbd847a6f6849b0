//! The command line of a service, and how a program asks another of its kind for its health.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches as _};
use reqwest::blocking::Client;
use reqwest::header::HOST;

/// Less than health checks of containers wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the running instance is asked, instead of starting one. It makes a container's health check need no other program.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub struct ProbeArgs {
    /// Ask the instance that runs here whether it is alive, and exit: 0 when it is.
    #[arg(long)]
    health: bool,
    /// Ask the instance that runs here whether it can serve, its dependencies included, and exit: 0 when it can.
    #[arg(long)]
    ready: bool,
}

/// A question to the instance that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Is it alive?
    Health,
    /// Can it serve?
    Ready,
}

impl ProbeArgs {
    /// The question, if there is one.
    pub fn probe(self) -> Option<Probe> {
        match self {
            Self { health: true, .. } => Some(Probe::Health),
            Self { ready: true, .. } => Some(Probe::Ready),
            _ => None,
        }
    }
}

/// Reads the command line of a service, which is configured by its environment alone. Ends the program for `--help`,
/// `--version`, and what it does not know.
pub fn probe_of_service(name: &'static str, version: &'static str, about: &'static str) -> Option<Probe> {
    // What is about the arguments' group would else stand in the place of what is about the service.
    let matches = ProbeArgs::augment_args(Command::new(name).version(version)).about(about).get_matches();
    ProbeArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).probe()
}

impl Probe {
    /// Asks whoever listens at this address under this name, and tells on standard error what is wrong. Must not be called
    /// within a Tokio runtime.
    pub fn ask(self, listen: SocketAddr, host: &str) -> ExitCode {
        match self.answer(listen, host) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                let _nobody_reads = writeln!(std::io::stderr(), "{fault}");
                ExitCode::FAILURE
            }
        }
    }

    fn answer(self, listen: SocketAddr, host: &str) -> Result<(), String> {
        let path = match self {
            Self::Health => "/health",
            Self::Ready => "/readyz",
        };
        let url = format!("http://{}{path}", reachable(listen));
        // The client asks for cryptography even where it does without; a process has one provider, this one or an earlier.
        let _there_already = rustls::crypto::ring::default_provider().install_default();
        // A proxy that the environment names is none for this machine's own address.
        let client = Client::builder().timeout(PATIENCE).no_proxy().build();
        let answer = client.and_then(|client| client.get(&url).header(HOST, host).send());
        let answer = answer.map_err(|error| format!("{url}: {}", with_causes(&error)))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("{url}: {}\n{}", answer.status(), answer.text().unwrap_or_default()))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Who listens at every address is asked at loopback's.
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

    fn ask_one_that_answers(probe: Probe, answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("0.0.0.0:0").expect("binds");
        let addr = listener.local_addr().expect("bound");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("answered");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let found = probe.answer(addr, "localhost");
        (found, served.join().expect("served"))
    }

    #[test]
    fn health_is_what_the_instance_answers() {
        let (found, asked) = ask_one_that_answers(Probe::Health, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(found, Ok(()));
        assert!(asked.starts_with("GET /health ") && asked.contains("host: localhost"), "{asked}");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nredis";
        let (found, asked) = ask_one_that_answers(Probe::Ready, answer);
        let fault = found.expect_err("not ready");
        assert!(fault.contains("503") && fault.contains("redis"), "{fault}");
        assert!(asked.starts_with("GET /readyz "), "{asked}");
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        assert!(Probe::Health.answer(nobody, "localhost").is_err());
    }
}
