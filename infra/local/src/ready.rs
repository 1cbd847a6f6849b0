//! Readiness probes of components.

use std::time::{Duration, Instant};

use proto_contracts::headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::component::Component;
use crate::error::{LogTail, StackError};
use crate::ports::loopback;
use crate::process::Process;

/// Limit for a component to become ready. Crash recovery of a database takes the longest.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause between two probes.
const PROBE_INTERVALS: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(200));

/// How readiness is checked.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// It replies with its own process id, and has loaded its data.
    Redis { port: u16 },
    /// The services' role can log in.
    Postgres { config: Box<tokio_postgres::Config> },
    /// The URL returns success, with the instance's name if it has one.
    Http { client: reqwest::Client, url: String, instance: Option<Component> },
}

impl Probe {
    fn awaited(&self) -> String {
        match self {
            Self::Redis { port } => format!("a reply to INFO on port {port}"),
            Self::Postgres { .. } => "a login".to_owned(),
            Self::Http { url, .. } => format!("success from {url}"),
        }
    }

    /// Probes once. The error is what was observed.
    async fn run(&self, pid: u32) -> Result<(), String> {
        match self {
            Self::Redis { port } => redis(*port, pid).await,
            Self::Postgres { config } => postgres(config).await,
            Self::Http { client, url, instance } => http(client, url, *instance).await,
        }
    }
}

/// Waits until the component is ready, has exited, or the time is over.
pub(crate) async fn wait(
    component: Component,
    process: &Process,
    probe: &Probe,
    log: &std::path::Path,
) -> Result<(), StackError> {
    let begin = Instant::now();
    let mut pause = PROBE_INTERVALS.0;
    loop {
        let response = tokio::select! {
            response = timeout(PROBE_TIMEOUT, probe.run(process.pid())) => {
                response.unwrap_or_else(|_| Err("the probe timed out".to_owned()))
            }
            exit = process.ended() => {
                let exit = exit.map_or_else(String::new, |exit| exit.to_string());
                let tail = LogTail::of(log.to_owned());
                return Err(StackError::Died { component: component.to_string(), exit, tail });
            }
        };
        let Err(last) = response else { return Ok(()) };
        if begin.elapsed() > READY_TIMEOUT {
            let tail = LogTail::of(log.to_owned());
            let (component, awaited) = (component.to_string(), probe.awaited());
            return Err(StackError::NotReady {
                component,
                awaited,
                last,
                waited: begin.elapsed(),
                tail,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PROBE_INTERVALS.1);
    }
}

async fn redis(port: u16, pid: u32) -> Result<(), String> {
    let response = async {
        let mut stream = TcpStream::connect(loopback(port)).await?;
        stream.write_all(b"INFO server\r\nPING\r\n").await?;
        // Sentinel does not support QUIT.
        stream.shutdown().await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        std::io::Result::Ok(response)
    };
    let response = response.await.map_err(|error| error.to_string())?;
    let response = String::from_utf8_lossy(&response);
    let of_ours = format!("process_id:{pid}");
    if !response.lines().any(|line| line == of_ours) {
        return Err(format!("another server replied: {}", response.lines().next().unwrap_or("")));
    }
    // While it loads its data it replies to PING with an error.
    if response.lines().any(|line| line == "+PONG") {
        Ok(())
    } else {
        Err("it is loading its data".to_owned())
    }
}

async fn postgres(config: &tokio_postgres::Config) -> Result<(), String> {
    // The message is only "error connecting to server"; its source has the reason.
    let cause = |error: tokio_postgres::Error| {
        std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string)
    };
    let (_client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(cause)?;
    // The login has succeeded; dropping both closes the connection.
    drop(connection);
    Ok(())
}

async fn http(
    client: &reqwest::Client,
    url: &str,
    instance: Option<Component>,
) -> Result<(), String> {
    let response = client.get(url).send().await.map_err(|error| {
        if error.is_connect() { "connection refused".to_owned() } else { error.to_string() }
    })?;
    if !response.status().is_success() {
        return Err(format!("it returned {}", response.status()));
    }
    let Some(instance) = instance else { return Ok(()) };
    match response.headers().get(headers::INSTANCE_ID).and_then(|name| name.to_str().ok()) {
        Some(name) if name == instance.to_string() => Ok(()),
        Some(name) => Err(format!("its name is {name}")),
        None => Err(format!("the response lacks {}", headers::INSTANCE_ID)),
    }
}
