//! The traffic driver, as the board uses it: by the control plane of a gateway.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Stack, Store};
use proto_contracts::agent::ComponentState;
use proto_contracts::control::{PoolTraffic, Traffic, TrafficSettings};
use proto_contracts::{ErrorCode, PoolName, Verdict};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const TRAFFIC: &str = "/control/v1/traffic";
/// Clients with the shortest pause that is allowed, and sessions alone.
const WRITERS: TrafficSettings = TrafficSettings {
    clients: 8,
    stateless_percent: 0,
    reads_percent: 0,
    think_time_ms: 50,
    clients_per_address: 1,
    cookie_jar: true,
};

struct Board<'a> {
    stack: &'a Stack,
    control: Api,
}

impl<'a> Board<'a> {
    fn of(stack: &'a Stack) -> Result<Self> {
        Ok(Self { stack, control: Api::control(stack)? })
    }

    async fn send(&self, method: Method, settings: Option<TrafficSettings>) -> Result<Response> {
        let token = self.stack.control_token().expose_secret();
        let request = self.control.request(method, TRAFFIC).bearer_auth(token);
        let request = match &settings {
            Some(settings) => request.json(settings),
            None => request,
        };
        Response::to(request).await
    }

    async fn change(&self, method: Method, settings: Option<TrafficSettings>) -> Result<Traffic> {
        let response = self.send(method, settings).await?;
        ensure!(response.status == 200, "{response}");
        Ok(response.json())
    }

    async fn run(&self, settings: TrafficSettings) -> Result<Traffic> {
        self.change(Method::PUT, Some(settings)).await
    }

    async fn stop(&self) -> Result<Traffic> {
        self.change(Method::DELETE, None).await
    }

    /// By a request without the token.
    async fn traffic(&self) -> Result<Traffic> {
        let response = self.control.get(TRAFFIC).await?;
        ensure!(response.status == 200, "{response}");
        Ok(response.json())
    }

    /// Requests to an instance of the pool with this verdict, as the gateway counts them.
    async fn routed(&self, pool: PoolName, verdict: Verdict) -> Result<u64> {
        let metrics = self.control.get("/metrics").await?;
        let name = format!("gateway_affinity_total{{pool=\"{pool}\",verdict=\"{verdict}\"}} ");
        let text = String::from_utf8(metrics.body)?;
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        Ok(value.context("the counter")?.parse()?)
    }

    /// Requests that the gateway has sent to stateful instances. The system itself sends some to
    /// the stateless ones.
    async fn requests(&self) -> Result<u64> {
        let pool = self.stack.control().pool(PoolName::Stateful).await?;
        Ok(pool.instances.iter().map(|instance| instance.requests).sum())
    }

    /// Sessions that the instances know of, as of their last health responses.
    async fn live_sessions(&self) -> Result<u64> {
        let pool = self.stack.control().pool(PoolName::Stateful).await?;
        Ok(pool.instances.iter().filter_map(|instance| instance.live_sessions).sum())
    }

    async fn until(&self, what: &str, look: impl Fn(&Traffic) -> bool) -> Result<Traffic> {
        until(what, || async {
            let traffic = self.traffic().await?;
            Ok(look(&traffic).then_some(traffic))
        })
        .await
    }
}

fn of(traffic: &Traffic, pool: PoolName) -> &PoolTraffic {
    traffic.pools.iter().find(|found| found.pool == pool).expect("both pools are listed")
}

/// The sessions with messages: of a deleted one, a mark alone is left. An instance also counts those
/// that it has recently served for others.
pub(crate) async fn sessions_in_redis(stack: &Stack) -> Result<u64> {
    let mut redis = TcpStream::connect(("127.0.0.1", stack.ports().redis_sessions)).await?;
    redis.write_all(b"KEYS session:*:messages\r\nQUIT\r\n").await?;
    let mut reply = String::new();
    redis.read_to_string(&mut reply).await?;
    let count = reply.strip_prefix('*').and_then(|rest| rest.lines().next());
    Ok(count.context(reply.clone())?.parse()?)
}

#[tokio::test]
async fn traffic_is_started_changed_and_stopped_and_leaves_nothing() -> Result<()> {
    let stack = small_stack().stateless(2).with_driver().start().await?;
    let board = Board::of(&stack)?;
    assert_eq!(stack.state_of("driver")?, ComponentState::Running);
    let idle = board.traffic().await?;
    assert!(idle.driver && !idle.running && idle.sessions == 0, "{idle:?}");
    assert_eq!(board.requests().await?, 0, "it sends nothing until it is told to");

    let settings = TrafficSettings { clients: 10, stateless_percent: 50, ..WRITERS };
    let started = board.run(TrafficSettings { reads_percent: 50, ..settings }).await?;
    assert!(started.running);
    let running = board
        .until("requests flow in both pools", |traffic| {
            PoolName::ALL.iter().all(|pool| of(traffic, *pool).requests >= 30)
                && traffic.sessions == 10
        })
        .await?;
    for pool in PoolName::ALL {
        assert!(of(&running, pool).requests_per_s > 0.0, "{running:?}");
        assert!(of(&running, pool).failures.is_empty(), "{running:?}");
    }
    board.live_sessions_at_least(10).await?;

    // With a jar, only what creates a session has a new key.
    board.run(TrafficSettings { think_time_ms: 400, ..WRITERS }).await?;
    board.until("two clients have left", |traffic| traffic.sessions == 8).await?;
    let new = board.routed(PoolName::Stateful, Verdict::New).await?;
    let home = board.routed(PoolName::Stateful, Verdict::Home).await?;
    until("writes by cookie", || async {
        let more = board.routed(PoolName::Stateful, Verdict::Home).await?;
        Ok((more >= home + 20).then_some(()))
    })
    .await?;
    assert_eq!(board.routed(PoolName::Stateful, Verdict::New).await?, new, "the cookie is sent");

    // Without a jar, each write has.
    board.run(TrafficSettings { cookie_jar: false, ..WRITERS }).await?;
    until("writes without a cookie", || async {
        let more = board.routed(PoolName::Stateful, Verdict::New).await?;
        Ok((more >= new + 50).then_some(()))
    })
    .await?;
    let all = board.traffic().await?;
    assert!(of(&all, PoolName::Stateful).failures.is_empty(), "Redis has them all: {all:?}");

    assert!(sessions_in_redis(&stack).await? >= 8);
    let stopped = board.stop().await?;
    assert!(!stopped.running && stopped.sessions == 0, "{stopped:?}");
    assert_eq!(sessions_in_redis(&stack).await?, 0, "nothing is left");
    let after = of(&board.traffic().await?, PoolName::Stateful).requests;
    let at_the_instances = board.requests().await?;
    // Health checks are no requests. A client that had not stopped would send twenty.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(of(&board.traffic().await?, PoolName::Stateful).requests, after);
    assert_eq!(board.requests().await?, at_the_instances, "it is quiet");
    stack.shutdown().await;
    Ok(())
}

impl Board<'_> {
    /// Waits until the instances report so many.
    async fn live_sessions_at_least(&self, count: u64) -> Result<()> {
        until("sessions at the instances", || async {
            Ok((self.live_sessions().await? >= count).then_some(()))
        })
        .await
    }
}

#[tokio::test]
async fn without_cookies_memory_alone_loses_writes_and_the_driver_says_so() -> Result<()> {
    let stack = small_stack().store(Store::Memory).with_driver().start().await?;
    let board = Board::of(&stack)?;
    board.run(WRITERS).await?;
    let sticky =
        board.until("writes", |traffic| of(traffic, PoolName::Stateful).requests >= 50).await?;
    assert!(of(&sticky, PoolName::Stateful).failures.is_empty(), "{sticky:?}");
    board.run(TrafficSettings { cookie_jar: false, ..WRITERS }).await?;
    let lossy = board
        .until("writes that find no session", |traffic| {
            of(traffic, PoolName::Stateful).failures.iter().any(|failure| failure.count >= 20)
        })
        .await?;
    let kinds: Vec<_> =
        of(&lossy, PoolName::Stateful).failures.iter().map(|failure| &*failure.kind).collect();
    assert_eq!(kinds, [ErrorCode::SessionNotFound.as_str()]);
    // What was given up is deleted, too.
    assert_eq!(board.stop().await?.sessions, 0);
    until("the instances know of no session", || async {
        Ok((board.live_sessions().await? == 0).then_some(()))
    })
    .await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_driver_outlives_the_gateway_and_a_gateway_outlives_its_driver() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let board = Board::of(&stack)?;
    board.run(WRITERS).await?;
    // Else a session may be left whose creation has no response.
    board
        .until("all have sessions", |traffic| traffic.sessions == u32::from(WRITERS.clients))
        .await?;
    stack.kill("gateway").await?;
    let driver = Api::on_instance(&stack, "driver")?;
    let counted = || async {
        let metrics = String::from_utf8(driver.get("/metrics").await?.body)?;
        let value = |outcome: &str| {
            let name = format!("driver_requests_total{{outcome=\"{outcome}\",pool=\"stateful\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok())
        };
        Ok::<_, anyhow::Error>((value("succeeded"), value("failed")))
    };
    until("failures are counted", || async { Ok((counted().await?.1 > Some(8)).then_some(())) })
        .await?;
    assert_eq!(stack.state_of("driver")?, ComponentState::Running);
    stack.start_component("gateway").await?;
    let before = counted().await?.0;
    until("it goes on", || async {
        Ok((counted().await?.0 > before.map(|count| count + 50)).then_some(()))
    })
    .await?;
    let back = board.traffic().await?;
    let kinds = &of(&back, PoolName::Stateful).failures;
    assert!(kinds.iter().any(|failure| failure.kind == "connect"), "{back:?}");

    stack.kill("driver").await?;
    let gone = board.control.get(TRAFFIC).await?;
    gone.problem(ErrorCode::UpstreamFailed);
    board.send(Method::PUT, Some(WRITERS)).await?.problem(ErrorCode::UpstreamFailed);
    assert_eq!(board.control.get("/control/v1/pools").await?.status, 200);
    stack.start_component("driver").await?;
    let fresh = board.traffic().await?;
    assert!(!fresh.running, "a driver begins idle: {fresh:?}");
    board.run(WRITERS).await?;
    board.until("requests again", |traffic| of(traffic, PoolName::Stateful).requests > 0).await?;
    // It deletes its clients' sessions when it ends.
    stack.stop("driver").await?;
    until("only sessions of the killed driver are left", || async {
        Ok((board.live_sessions().await? <= u64::from(WRITERS.clients)).then_some(()))
    })
    .await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_driver_accepts_nobody_without_its_own_token() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let driver = Api::on_instance(&stack, "driver")?;
    let path = "/driver/v1/traffic";
    let stranger = driver.get(path).await?;
    stranger.problem(ErrorCode::Unauthorized);
    let control_token = stack.control_token().expose_secret();
    for token in [control_token, &"0".repeat(64)] {
        let request = driver.request(Method::PUT, path).json(&WRITERS).bearer_auth(token);
        Response::to(request).await?.problem(ErrorCode::Unauthorized);
    }
    let token = std::fs::read_to_string(stack.state_dir().join("driver.token"))?;
    let own = |method| driver.request(method, path).bearer_auth(token.trim());
    let shown: Traffic = Response::to(own(Method::GET)).await?.json();
    assert!(!shown.running, "nobody started it");
    let rebound = own(Method::GET).header("Host", "tandem.example:8003");
    Response::to(rebound).await?.problem(ErrorCode::MisdirectedRequest);
    let wrong = TrafficSettings { clients: 201, think_time_ms: 1, ..WRITERS };
    let refused = Response::to(own(Method::PUT).json(&wrong)).await?;
    let problem = refused.problem(ErrorCode::InvalidBody);
    let pointers: Vec<_> =
        problem.errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
    assert_eq!(pointers, ["/clients", "/think_time_ms"]);
    Response::to(own(Method::PUT).body("{")).await?.problem(ErrorCode::UnsupportedMediaType);
    assert_eq!(driver.get("/health").await?.status, 200);
    for log in ["driver", "gateway"] {
        let text = std::fs::read_to_string(stack.log_path(log)?)?;
        assert!(!text.contains(token.trim()), "{log} has the driver's token");
    }
    stack.shutdown().await;
    Ok(())
}
