//! The gateway: its configuration, and the client of its control API.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proto_contracts::control::{
    AddInstance, DrainInstance, InstanceState, Pool, Pools, Reloaded, SetStrategy, Strategy,
};
use proto_contracts::{PoolName, Problem};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::http;
use crate::plan::{Gateways, Settings, Store, log_file};
use crate::ports::loopback;
use crate::process::Launch;

mod file;

/// How long the gateway may take to find an instance healthy: its checks pass twice, and it may be busy.
const MEMBER_PATIENCE: Duration = Duration::from_secs(20);

/// What the control API changed, in the gateway's folder.
const STATE_FILE: &str = "state.json";
/// How long one of two gateways tells that it leaves: its clients, Nginx's kept connections, turn to the other.
const ANNOUNCE_S: u64 = 2;
/// Where a successor finds it, in a folder of its own that the gateway makes.
const UPGRADE_SOCK: &str = "private/upgrade.sock";

/// The keys of `gateway.toml` that differ from the gateway's own defaults here.
#[derive(Serialize)]
struct Config {
    server: Server,
    control: Listener,
    health: Health,
    outlier_ejection: OutlierEjection,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Retries>,
    lab: Lab,
    pools: BTreeMap<PoolName, Members>,
}

#[derive(Serialize)]
struct Server {
    listen: SocketAddr,
    state_file: String,
    upgrade_sock: String,
    announce_s: u64,
    grace_period_s: u64,
}

#[derive(Serialize)]
struct Listener {
    listen: SocketAddr,
}

#[derive(Serialize)]
struct Health {
    interval_ms: u64,
    timeout_ms: u64,
}

#[derive(Serialize)]
struct OutlierEjection {
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive_failures: Option<u32>,
    base_ejection_ms: u64,
    max_ejection_ms: u64,
}

#[derive(Serialize)]
struct Retries {
    attempt_timeout_ms: u64,
}

#[derive(Serialize)]
struct Lab {
    enabled: bool,
}

#[derive(Serialize)]
struct Members {
    strategy: Strategy,
    instances: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bounded_load: Option<f64>,
}

/// Where a gateway listens and keeps its files.
pub(crate) struct Seat {
    dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) control: SocketAddr,
    log: PathBuf,
}

impl Seat {
    /// The stack's own gateway.
    fn first(settings: &Settings) -> Self {
        Self {
            dir: settings.state.join("gateway"),
            listen: loopback(settings.ports.gateway),
            control: loopback(settings.ports.control),
            log: settings.log(Component::Gateway),
        }
    }

    /// One beside it, its own or a test's.
    pub(crate) fn second(settings: &Settings) -> Self {
        Self {
            dir: settings.state.join("gateway-2"),
            listen: loopback(settings.ports.second_gateway),
            control: loopback(settings.ports.second_control),
            log: log_file(&settings.state, "gateway-2"),
        }
    }
}

/// How one of the stack's own gateways is started, with these instances as its members.
pub(crate) fn launch(
    settings: &Settings,
    component: Component,
    instances: &[(PoolName, u16)],
) -> Result<Launch, StackError> {
    let seat = if component == Component::Gateway { Seat::first(settings) } else { Seat::second(settings) };
    let mut launch = launch_at(settings, &seat, instances)?;
    // What monitoring calls it. The first one has the program's default.
    if component == Component::SecondGateway {
        launch.env.push(("INSTANCE_ID".to_owned(), component.to_string().into()));
    }
    Ok(launch)
}

/// How a gateway is started there.
pub(crate) fn launch_at(settings: &Settings, seat: &Seat, instances: &[(PoolName, u16)]) -> Result<Launch, StackError> {
    let dir = &seat.dir;
    fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
    let members = |pool, strategy, bounded_load| {
        let ports = instances.iter().filter(|(of, _)| *of == pool).map(|&(_, port)| loopback(port));
        (pool, Members { strategy, instances: ports.collect(), bounded_load })
    };
    // Who would answer in the stead of a session's home does not know a session that is in its memory alone.
    let bounded_load = if settings.store == Store::Memory { Some(0.0) } else { None };
    let interval_ms = u64::try_from(settings.health_interval.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        server: Server {
            listen: seat.listen,
            state_file: dir.join(STATE_FILE).to_string_lossy().into_owned(),
            upgrade_sock: dir.join(UPGRADE_SOCK).to_string_lossy().into_owned(),
            // With one, nobody balances over several.
            announce_s: if settings.gateways == Gateways::Two { ANNOUNCE_S } else { 0 },
            // What an upgraded gateway needs to answer on idle connections, and a little more.
            grace_period_s: 7,
        },
        control: Listener { listen: seat.control },
        // A check may take as long as it is until the next.
        health: Health { interval_ms, timeout_ms: interval_ms },
        // In the same proportion to the health checks as by default.
        outlier_ejection: OutlierEjection {
            consecutive_failures: settings.patient_gateway.then_some(0),
            base_ejection_ms: 6 * interval_ms,
            max_ejection_ms: 60 * interval_ms,
        },
        retries: settings.patient_gateway.then_some(Retries { attempt_timeout_ms: 0 }),
        lab: Lab { enabled: settings.lab },
        pools: BTreeMap::from([
            members(PoolName::Stateless, Strategy::RoundRobin, None),
            members(PoolName::Stateful, Strategy::Sticky, bounded_load),
        ]),
    };
    let text = toml::to_string(&config)
        .map_err(std::io::Error::other)
        .attempt(|| "write the gateway's configuration".to_owned())?;
    let (file, notes) = file::write(dir, &text)?;
    notes.iter().for_each(|note| (settings.progress)(note));
    let mut env = vec![
        ("CONTROL_TOKEN".to_owned(), settings.secrets.control_token.expose_secret().into()),
        ("INSTANCE_TOKEN".to_owned(), settings.secrets.instance_token.expose_secret().into()),
    ];
    env.extend(settings.extra_env(Component::Gateway));
    Ok(Launch {
        program: settings.builds.binary("gateway")?,
        args: vec!["--config".into(), file.into()],
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: seat.log.clone(),
    })
}

/// Forgets what was changed over the control API: at the start of a stack its plan is the truth.
pub(crate) fn forget_changes(settings: &Settings) -> Result<(), StackError> {
    for seat in [Seat::first(settings), Seat::second(settings)] {
        let file = seat.dir.join(STATE_FILE);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StackError::Io { what: format!("remove {}", file.display()), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The gateway's control API.
#[derive(Clone, Debug)]
pub struct Control {
    client: reqwest::Client,
    base: String,
    token: SecretString,
}

impl Control {
    /// The one of the stack's own gateway, or of the one beside it.
    pub(crate) fn of(settings: &Settings, gateway: Component) -> Result<Self, StackError> {
        let ports = &settings.ports;
        let port = if gateway == Component::SecondGateway { ports.second_control } else { ports.control };
        let base = format!("http://{}", loopback(port));
        Self::at(&base, settings.secrets.control_token.clone())
    }

    /// The control API of a gateway whose control plane has this URL, without a slash at its end.
    ///
    /// # Errors
    /// [`StackError::Io`] when no client can be made.
    pub fn at(url: &str, token: SecretString) -> Result<Self, StackError> {
        Ok(Self { client: http::internal()?, base: format!("{url}/control/v1"), token })
    }

    /// Both pools as the gateway sees them.
    ///
    /// # Errors
    /// [`StackError::Control`], as with all that follow.
    pub async fn pools(&self) -> Result<Vec<Pool>, StackError> {
        let answer = self.call(Method::GET, "pools", None::<&()>).await?;
        Ok(answer.json::<Pools>().await.map_err(unreachable)?.pools)
    }

    /// One of them.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn pool(&self, name: PoolName) -> Result<Pool, StackError> {
        let pools = self.pools().await?;
        pools
            .into_iter()
            .find(|pool| pool.name == name)
            .ok_or_else(|| StackError::Control(format!("it has no pool {name}")))
    }

    /// Switches a pool's strategy.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn set_strategy(&self, pool: PoolName, strategy: Strategy) -> Result<(), StackError> {
        self.call(Method::PUT, &format!("pools/{pool}/strategy"), Some(&SetStrategy { strategy })).await.map(drop)
    }

    /// Adds an instance. It becomes a member when it tells its name.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn add(&self, pool: PoolName, addr: SocketAddr) -> Result<(), StackError> {
        self.call(Method::POST, &format!("pools/{pool}/instances"), Some(&AddInstance { addr, weight: None }))
            .await
            .map(drop)
    }

    /// Removes an instance; one that is no member is gone already. The gateway refuses it when no other serves.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn remove(&self, pool: PoolName, name: &str) -> Result<(), StackError> {
        self.delete(&format!("pools/{pool}/instances/{name}")).await
    }

    /// The same even when no other serves: for an address that another follows, or that is gone.
    pub(crate) async fn remove_address(&self, pool: PoolName, name: &str) -> Result<(), StackError> {
        self.delete(&format!("pools/{pool}/instances/{name}?force=true")).await
    }

    async fn delete(&self, path: &str) -> Result<(), StackError> {
        let request = self.request(Method::DELETE, path);
        let answer = request.send().await.map_err(unreachable)?;
        if answer.status() == StatusCode::NOT_FOUND { Ok(()) } else { succeeded(answer).await.map(drop) }
    }

    /// Ends an instance's drain.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn undrain(&self, pool: PoolName, name: &str) -> Result<(), StackError> {
        self.call(Method::POST, &format!("pools/{pool}/instances/{name}/undrain"), None::<&()>).await.map(drop)
    }

    /// Drains an instance: its keys may stay for so many seconds.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn drain(&self, pool: PoolName, name: &str, deadline_s: u64) -> Result<(), StackError> {
        let path = format!("pools/{pool}/instances/{name}/drain");
        self.call(Method::POST, &path, Some(&DrainInstance { deadline_s: Some(deadline_s), force: false }))
            .await
            .map(drop)
    }

    /// Has the gateway read its configuration again.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn reload(&self) -> Result<Reloaded, StackError> {
        self.call(Method::POST, "reload", None::<&()>).await?.json().await.map_err(unreachable)
    }

    /// Adds and removes instances until the pools hold these and no others: what was changed while no gateway ran.
    pub(crate) async fn reconcile(&self, wanted: &[(PoolName, SocketAddr)]) -> Result<(), StackError> {
        let pools = self.pools().await?;
        for pool in &pools {
            let surplus = pool.instances.iter().filter(|instance| !wanted.contains(&(pool.name, instance.addr)));
            for name in surplus.filter_map(|instance| instance.name.as_ref()) {
                self.remove_address(pool.name, name.as_str()).await?;
            }
        }
        let present = |&&(name, addr): &&(PoolName, SocketAddr)| {
            pools.iter().any(|pool| pool.name == name && pool.instances.iter().any(|instance| instance.addr == addr))
        };
        for &(pool, addr) in wanted.iter().filter(|wanted| !present(wanted)) {
            self.add(pool, addr).await?;
        }
        Ok(())
    }

    /// Waits until the gateway finds all these instances healthy, at these addresses, or drained, as an operator left them.
    ///
    /// # Errors
    /// [`StackError::Control`] that names those that it does not, after 20 s.
    pub async fn await_healthy(&self, wanted: &[(PoolName, String, SocketAddr)]) -> Result<(), StackError> {
        let begin = Instant::now();
        loop {
            let pools = self.pools().await?;
            let healthy = |(pool, name, addr): &&(PoolName, String, SocketAddr)| {
                let instances = pools.iter().filter(|p| p.name == *pool).flat_map(|pool| &pool.instances);
                instances.into_iter().any(|instance| {
                    let is_up = match instance.state {
                        InstanceState::Healthy => true,
                        InstanceState::Draining | InstanceState::Drained => instance.last_error.is_none(),
                        _ => false,
                    };
                    is_up && instance.addr == *addr && instance.name.as_ref().is_some_and(|told| told.as_str() == name)
                })
            };
            let missing: Vec<&str> =
                wanted.iter().filter(|wanted| !healthy(wanted)).map(|(_, name, _)| name.as_str()).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > MEMBER_PATIENCE {
                let seen = pools.iter().flat_map(|pool| &pool.instances).map(|instance| {
                    let name = instance.name.as_ref().map_or("?", |name| name.as_str());
                    format!("{name} at {} is {}", instance.addr, instance.state)
                });
                let seen = seen.collect::<Vec<_>>().join(", ");
                return Err(StackError::Control(format!("it does not find {} healthy: {seen}", missing.join(", "))));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<reqwest::Response, StackError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        succeeded(request.send().await.map_err(unreachable)?).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.base)).bearer_auth(self.token.expose_secret())
    }
}

async fn succeeded(answer: reqwest::Response) -> Result<reqwest::Response, StackError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let detail =
        answer.json::<Problem>().await.map_or_else(|_| "no reason given".to_owned(), |problem| problem.detail.into());
    Err(StackError::Control(format!("{status}: {detail}")))
}

fn unreachable(error: reqwest::Error) -> StackError {
    StackError::Control(if error.is_connect() { "nobody listens".to_owned() } else { error.to_string() })
}
