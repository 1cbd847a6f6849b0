//! What open boards cost the gateway: CPU for each request with one board beside none, and the p99
//! with as many as there are places.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::StatusCode;
use proto_contracts::{Endpoint, ErrorCode};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::env::BenchEnv;
use super::report::{Bound, Ratio, Section};
use super::rounds::{Done, Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::client::{Response, ScenarioRequest, connected};
use crate::open_loop;
use crate::outcome::ErrorKind;
use crate::request;
use crate::scenario::{Operation, Scenario};
use crate::target::Target;

/// What a board wants: `TYPES` of `gateway/board/stream.mjs`.
const TYPES: &str = "pools,routed,rates,instance_changed,instance_added,instance_removed,\
                     drain_progressed,strategy_changed,overload_changed,connections_changed,\
                     discovery_changed,config_reloaded,config_rejected,state_file_changed";
/// The places for event streams.
const PLACES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of the gateway's CPU for a request with a board over that without.
const MAX_CPU: f64 = 1.03;
/// Bound of the p99 with all places taken over that with none: its spread from round to round.
const MAX_P99: f64 = 1.2;

pub(crate) async fn measure(env: &BenchEnv<'_>) -> Result<Section> {
    let gateway = env.gateway().await?;
    let connections = env.plan.connections;
    let sessions =
        Sessions::create(&gateway, connections, env.plan.sessions, Routed::Unmarked).await?;
    let load = || at_constant_rate(env, &gateway, &sessions);
    let (mut none, mut one, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..env.plan.rounds {
        // In turn, so that neither is always the first.
        for with_board in [number % 2 == 0, number % 2 != 0] {
            let boards = if with_board { open(env, 1).await? } else { Vec::new() };
            let round = Round::measure(&env.processes, load()).await?;
            if with_board {
                one.push(round)
            } else {
                none.push(round)
            }
            close(boards).await;
        }
        let boards = open(env, PLACES).await?;
        refuses_one_more(env).await?;
        all.push(Round::measure(&env.processes, load()).await?);
        close(boards).await;
    }
    let ratios = vec![
        Ratio {
            name: "CPU of the gateway for a request, one board over none".to_owned(),
            ratio: ratio(&one, &none, |round| round.cpu_of("gateway")),
            bound: Some(Bound::AtMost(MAX_CPU)),
        },
        Ratio {
            name: format!("p99, {PLACES} boards over none"),
            ratio: ratio(&all, &none, |round| round.p99_ms.unwrap_or(f64::NAN)),
            bound: Some(Bound::AtMost(MAX_P99)),
        },
    ];
    Ok(Section {
        title: format!("{} requests/s beside open boards", env.plan.board_rate),
        rows: vec![
            row("no board", &none),
            row("one board", &one),
            row(format!("{PLACES} boards"), &all),
        ],
        ratios,
        ..Section::default()
    })
}

/// Stateless requests and reads of sessions in turn, at the plan's rate.
async fn at_constant_rate(
    env: &BenchEnv<'_>,
    gateway: &Arc<Target>,
    sessions: &Sessions,
) -> Result<Done> {
    let clients = connected(gateway, env.plan.connections).await?;
    let start = Instant::now();
    let turns = |number| Turns { number, sessions: sessions.clone() };
    let rate: NonZeroU32 = env.plan.board_rate;
    let recorder = open_loop::run(clients, turns, rate, env.plan.round(), TIMEOUT).await;
    Done::of_open_loop(&recorder, start)
}

struct Turns {
    number: usize,
    sessions: Sessions,
}

impl Scenario for Turns {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        self.number += 1;
        let request = match self.number % 2 {
            0 => request::get(Endpoint::Info.templates().canonical),
            _ => self.sessions.read(self.number),
        };
        // One row for both.
        (Operation::Info, request)
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        let is_good = response.status == StatusCode::OK;
        is_good.then_some(()).ok_or(ErrorKind::WrongResponse)
    }

    fn abandon(&mut self) {}
}

/// Boards that read whatever comes.
async fn open(env: &BenchEnv<'_>, boards: usize) -> Result<Vec<JoinHandle<()>>> {
    let mut open = Vec::with_capacity(boards);
    for number in 1..=boards {
        let (mut stream, head) = request_events(env).await?;
        ensure!(head.starts_with("HTTP/1.1 200"), "board {number}: {head}");
        open.push(tokio::spawn(async move {
            let mut events = vec![0; 64 << 10];
            while stream.read(&mut events).await.is_ok_and(|read| read > 0) {}
        }));
    }
    Ok(open)
}

async fn close(boards: Vec<JoinHandle<()>>) {
    for board in boards {
        board.abort();
        let _cancelled = board.await;
    }
    // The gateway sees their ends with the next events, which come every second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

async fn refuses_one_more(env: &BenchEnv<'_>) -> Result<()> {
    let (mut stream, mut response) = request_events(env).await?;
    ensure!(response.starts_with("HTTP/1.1 503"), "board {}: {response}", PLACES + 1);
    let code = ErrorCode::TooManyStreams.to_string();
    let mut rest = vec![0; 4 << 10];
    while !response.contains(&code) {
        let read = stream.read(&mut rest).await?;
        ensure!(read > 0, "the response says nothing of {code}: {response}");
        response += &String::from_utf8_lossy(&rest[..read]);
    }
    Ok(())
}

/// Requests the events with the token, and reads the first part of the response.
async fn request_events(env: &BenchEnv<'_>) -> Result<(TcpStream, String)> {
    let urls = env.stack.urls();
    let addr: SocketAddr = urls.control.trim_start_matches("http://").parse()?;
    let token = env.stack.control_token().expose_secret();
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!(
        "GET /control/v1/events?types={TYPES} HTTP/1.1\r\nHost: {addr}\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = vec![0; 4 << 10];
    let read = tokio::time::timeout(TIMEOUT, stream.read(&mut head)).await??;
    Ok((stream, String::from_utf8_lossy(&head[..read]).into_owned()))
}
