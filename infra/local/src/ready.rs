//! Waiting until what was started answers, and saying what is missing when it does not.

use std::time::{Duration, Instant};

use proto_contracts::headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::component::Component;
use crate::error::{LogTail, StackError};
use crate::ports::loopback;
use crate::process::Process;

/// How long a component may take until it is ready. A database that recovers from a crash takes the longest.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(2);
/// The first and the longest pause between two questions.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// What shows that a component is ready.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// It answers a command, under its own process id, and has loaded its data.
    Redis { port: u16 },
    /// The services' role can log in.
    Postgres { config: Box<tokio_postgres::Config> },
    /// It answers this URL with success, under its own name where it has one.
    Http { client: reqwest::Client, url: String, instance: Option<Component> },
}

impl Probe {
    fn awaited(&self) -> String {
        match self {
            Self::Redis { port } => format!("an answer to INFO on port {port}"),
            Self::Postgres { .. } => "a login".to_owned(),
            Self::Http { url, .. } => format!("success from {url}"),
        }
    }

    /// Asks once; otherwise says what was seen instead.
    async fn ask(&self, pid: u32) -> Result<(), String> {
        match self {
            Self::Redis { port } => redis(*port, pid).await,
            Self::Postgres { config } => postgres(config).await,
            Self::Http { client, url, instance } => http(client, url, *instance).await,
        }
    }
}

/// Waits until the component is ready, has ended, or has used up its time.
pub(crate) async fn wait(
    component: Component,
    process: &Process,
    probe: &Probe,
    log: &std::path::Path,
) -> Result<(), StackError> {
    let begin = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let answer = tokio::select! {
            answer = timeout(QUESTION, probe.ask(process.pid())) => answer.unwrap_or_else(|_| Err("no answer came".to_owned())),
            exit = process.ended() => {
                let exit = exit.map_or_else(String::new, |exit| exit.to_string());
                let tail = LogTail::of(log.to_owned());
                return Err(StackError::Died { component: component.to_string(), exit, tail });
            }
        };
        let Err(last) = answer else { return Ok(()) };
        if begin.elapsed() > PATIENCE {
            let tail = LogTail::of(log.to_owned());
            let (component, awaited) = (component.to_string(), probe.awaited());
            return Err(StackError::NotReady { component, awaited, last, waited: begin.elapsed(), tail });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn redis(port: u16, pid: u32) -> Result<(), String> {
    let answer = async {
        let mut stream = TcpStream::connect(loopback(port)).await?;
        stream.write_all(b"INFO server\r\nPING\r\n").await?;
        // A Sentinel knows no QUIT.
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = answer.await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let of_ours = format!("process_id:{pid}");
    if !answer.lines().any(|line| line == of_ours) {
        return Err(format!("another server answers: {}", answer.lines().next().unwrap_or("")));
    }
    // While it loads its data it answers PING with an error.
    if answer.lines().any(|line| line == "+PONG") { Ok(()) } else { Err("it is loading its data".to_owned()) }
}

async fn postgres(config: &tokio_postgres::Config) -> Result<(), String> {
    // Its own message is only "error connecting to server": the cause says why.
    let cause =
        |error: tokio_postgres::Error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
    let (_client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(cause)?;
    // Dropping both closes the connection; the login itself was the answer.
    drop(connection);
    Ok(())
}

async fn http(client: &reqwest::Client, url: &str, instance: Option<Component>) -> Result<(), String> {
    let answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| if error.is_connect() { "nobody listens".to_owned() } else { error.to_string() })?;
    if !answer.status().is_success() {
        return Err(format!("the answer was {}", answer.status()));
    }
    let Some(instance) = instance else { return Ok(()) };
    match answer.headers().get(headers::INSTANCE_ID).and_then(|name| name.to_str().ok()) {
        Some(name) if name == instance.to_string() => Ok(()),
        Some(name) => Err(format!("it calls itself {name}")),
        None => Err(format!("the answer lacks {}", headers::INSTANCE_ID)),
    }
}
