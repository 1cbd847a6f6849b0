//! A client of the gateway's control API.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::control::{
    AddInstance, DrainInstance, InstanceState, Pool, Pools, Reloaded, SetStrategy, Strategy,
    StrategySet,
};
use proto_contracts::{PoolName, Problem, headers};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::component::Component;
use crate::error::StackError;
use crate::http::{self, Trust};
use crate::ports::loopback;
use crate::settings::Settings;

/// Limit for an instance to become healthy: two health checks pass, on a busy machine.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of a gateway's control API.
#[derive(Clone, Debug)]
pub struct Control {
    client: reqwest::Client,
    base: String,
    token: SecretString,
    /// Whether changes are for this gateway alone.
    alone: bool,
}

/// A gateway waits for two seconds for the others.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

impl Control {
    /// The control API of the stack's first or second gateway, for changes of that one alone: the
    /// stack keeps each up to date by itself.
    pub(crate) fn of(settings: &Settings, gateway: Component) -> Result<Self, StackError> {
        let ports = &settings.ports;
        let port =
            if gateway == Component::SecondGateway { ports.second_control } else { ports.control };
        let base = format!("http://{}", loopback(port));
        let control = Self::at(&base, settings.secrets.control_token.clone())?;
        Ok(Self { alone: true, ..control })
    }

    /// The control API at this URL, which has no trailing slash. Its changes are for all gateways of
    /// the deployment.
    ///
    /// # Errors
    /// [`StackError::Io`] when no client can be made.
    pub fn at(url: &str, token: SecretString) -> Result<Self, StackError> {
        let base = format!("{url}/control/v1");
        Ok(Self { client: http::internal(Trust::Nothing)?, base, token, alone: false })
    }

    /// Both pools.
    ///
    /// # Errors
    /// [`StackError::Control`], as for all methods below.
    pub async fn pools(&self) -> Result<Vec<Pool>, StackError> {
        let response = self.call(Method::GET, "pools", None::<&()>).await?;
        Ok(response.json::<Pools>().await.map_err(unreachable)?.pools)
    }

    /// One pool.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn pool(&self, name: PoolName) -> Result<Pool, StackError> {
        let pools = self.pools().await?;
        pools
            .into_iter()
            .find(|pool| pool.name == name)
            .ok_or_else(|| StackError::Control(format!("no pool is named {name}")))
    }

    /// Switches a pool's strategy.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn set_strategy(&self, pool: PoolName, strategy: Strategy) -> Result<(), StackError> {
        self.switch(pool, strategy).await.map(drop)
    }

    /// Switches a pool's strategy, and says which gateways were missed.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn switch(
        &self,
        pool: PoolName,
        strategy: Strategy,
    ) -> Result<StrategySet, StackError> {
        let path = format!("pools/{pool}/strategy");
        let response = self.call(Method::PUT, &path, Some(&SetStrategy { strategy })).await?;
        response.json().await.map_err(unreachable)
    }

    /// Adds an instance. It joins the pool when its name is known from a health check.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn add(&self, pool: PoolName, addr: SocketAddr) -> Result<(), StackError> {
        self.call(
            Method::POST,
            &format!("pools/{pool}/instances"),
            Some(&AddInstance { addr, weight: None, lease_s: None }),
        )
        .await
        .map(drop)
    }

    /// Removes an instance; an unknown one is no error. The gateway rejects the removal of the last
    /// one that serves.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn remove(&self, pool: PoolName, name: &str) -> Result<(), StackError> {
        self.delete(&format!("pools/{pool}/instances/{name}")).await
    }

    /// Removes an instance even if it is the last one: for an address that is gone or replaced.
    pub(crate) async fn remove_address(
        &self,
        pool: PoolName,
        name: &str,
    ) -> Result<(), StackError> {
        self.delete(&format!("pools/{pool}/instances/{name}?force=true")).await
    }

    async fn delete(&self, path: &str) -> Result<(), StackError> {
        let request = self.request(Method::DELETE, path);
        let response = request.send().await.map_err(unreachable)?;
        if response.status() == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            succeeded(response).await.map(drop)
        }
    }

    /// Ends an instance's drain.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn undrain(&self, pool: PoolName, name: &str) -> Result<(), StackError> {
        self.call(Method::POST, &format!("pools/{pool}/instances/{name}/undrain"), None::<&()>)
            .await
            .map(drop)
    }

    /// Drains an instance. Its keys stay for at most this many seconds.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn drain(
        &self,
        pool: PoolName,
        name: &str,
        deadline_s: u64,
    ) -> Result<(), StackError> {
        let path = format!("pools/{pool}/instances/{name}/drain");
        self.call(
            Method::POST,
            &path,
            Some(&DrainInstance { deadline_s: Some(deadline_s), force: false }),
        )
        .await
        .map(drop)
    }

    /// Reloads the gateway's configuration.
    ///
    /// # Errors
    /// See [`Control::pools`].
    pub async fn reload(&self) -> Result<Reloaded, StackError> {
        self.call(Method::POST, "reload", None::<&()>).await?.json().await.map_err(unreachable)
    }

    /// Adds and removes instances until the pools hold exactly these.
    pub(crate) async fn reconcile(
        &self,
        wanted: &[(PoolName, SocketAddr)],
    ) -> Result<(), StackError> {
        let pools = self.pools().await?;
        for pool in &pools {
            let surplus = pool
                .instances
                .iter()
                .filter(|instance| !wanted.contains(&(pool.name, instance.addr)));
            for name in surplus.filter_map(|instance| instance.name.as_ref()) {
                self.remove_address(pool.name, name.as_str()).await?;
            }
        }
        let present = |&&(name, addr): &&(PoolName, SocketAddr)| {
            pools.iter().any(|pool| {
                pool.name == name && pool.instances.iter().any(|instance| instance.addr == addr)
            })
        };
        for &(pool, addr) in wanted.iter().filter(|wanted| !present(wanted)) {
            self.add(pool, addr).await?;
        }
        Ok(())
    }

    /// Waits until all these instances are healthy at these addresses, or drained by an operator.
    ///
    /// # Errors
    /// [`StackError::Control`] with the names of the others, after 20 s.
    pub async fn await_healthy(
        &self,
        wanted: &[(PoolName, String, SocketAddr)],
    ) -> Result<(), StackError> {
        let begin = Instant::now();
        loop {
            let pools = self.pools().await?;
            let healthy = |(pool, name, addr): &&(PoolName, String, SocketAddr)| {
                let instances =
                    pools.iter().filter(|p| p.name == *pool).flat_map(|pool| &pool.instances);
                instances.into_iter().any(|instance| {
                    let is_up = match instance.state {
                        InstanceState::Healthy => true,
                        InstanceState::Draining | InstanceState::Drained => {
                            instance.last_error.is_none()
                        }
                        _ => false,
                    };
                    is_up
                        && instance.addr == *addr
                        && instance.name.as_ref().is_some_and(|reported| reported.as_str() == name)
                })
            };
            let missing: Vec<&str> = wanted
                .iter()
                .filter(|wanted| !healthy(wanted))
                .map(|(_, name, _)| name.as_str())
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > HEALTHY_TIMEOUT {
                let seen = pools.iter().flat_map(|pool| &pool.instances).map(|instance| {
                    let name = instance.name.as_ref().map_or("?", |name| name.as_str());
                    format!("{name} at {} is {}", instance.addr, instance.state)
                });
                let seen = seen.collect::<Vec<_>>().join(", ");
                return Err(StackError::Control(format!(
                    "not healthy: {}; the pools hold {seen}",
                    missing.join(", ")
                )));
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
        let is_change = method != Method::GET;
        let mut request = self
            .client
            .request(method, format!("{}/{path}", self.base))
            .bearer_auth(self.token.expose_secret());
        if is_change {
            request = request.timeout(CHANGE_TIMEOUT);
        }
        if is_change && self.alone {
            request.header(headers::CHANGE_SCOPE, headers::CHANGE_SCOPE_GATEWAY)
        } else {
            request
        }
    }
}

async fn succeeded(response: reqwest::Response) -> Result<reqwest::Response, StackError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let detail = response
        .json::<Problem>()
        .await
        .map_or_else(|_| "no detail".to_owned(), |problem| problem.detail.into());
    Err(StackError::Control(format!("{status}: {detail}")))
}

fn unreachable(error: reqwest::Error) -> StackError {
    StackError::Control(if error.is_connect() {
        "connection refused".to_owned()
    } else {
        error.to_string()
    })
}
