//! Sends a change to the deployment's other gateways, each within the same two seconds.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::http::{Method, Uri};
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use prometheus::{IntCounterVec, Opts, Registry};
use proto_contracts::control::{ChangeOrder, MissedGateway};
use proto_contracts::{ErrorCode, Problem, headers};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::http_client;
use tokio::time::{Instant, timeout_at};

use crate::config::{Config, DiscoveryConfig, PeerName};
use crate::health_check::lookup;

/// How long a change may wait for the other gateways: for their names and their responses.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The deployment's other gateways.
pub(super) struct Peers {
    names: Vec<PeerName>,
    discovery: DiscoveryConfig,
    /// This gateway, which may be among the others.
    own: SocketAddr,
    /// A `Host` that they accept: they have the same `allowed_hosts`.
    host: String,
    token: Option<SecretString>,
    client: Client,
    changes: IntCounterVec,
}

/// A change as another gateway gets it.
pub(super) struct Change<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) body: Bytes,
    pub(super) order: ChangeOrder,
}

/// What came of a change at the other gateways.
#[derive(Default)]
pub(super) struct Outcomes {
    /// Whether any of them made it now.
    pub(super) is_made: bool,
    /// Those that did not confirm it, by address.
    pub(super) missed: Vec<MissedGateway>,
}

/// What came of a change at one gateway that responded.
enum Outcome {
    Made,
    /// It was like that already, or was changed later.
    NoChange,
}

impl Peers {
    pub(super) fn new(config: &Config, own: SocketAddr, registry: &Registry) -> io::Result<Self> {
        let help = "Changes of the control API at another gateway of the deployment, by outcome.";
        let changes =
            IntCounterVec::new(Opts::new("gateway_peer_changes_total", help), &["outcome"])
                .map_err(io::Error::other)?;
        // A rate needs a first value, so all series start at 0.
        for outcome in ["made", "missed"] {
            changes.with_label_values(&[outcome]);
        }
        registry.register(Box::new(changes.clone())).map_err(io::Error::other)?;
        let control = &config.control;
        Ok(Self {
            names: control.peers.clone(),
            discovery: config.discovery,
            own,
            host: control.allowed_hosts.first().cloned().unwrap_or_default(),
            token: control.token.clone(),
            client: http_client::client(TIMEOUT, &config.trust).map_err(io::Error::other)?,
            changes,
        })
    }

    /// Sends the change to all of them at once.
    pub(super) async fn send(&self, change: &Change<'_>) -> Outcomes {
        let deadline = Instant::now() + TIMEOUT;
        let (addrs, mut missed) = self.resolved(deadline).await;
        let sent = addrs.into_iter().map(|addr| async move {
            let outcome = timeout_at(deadline, self.send_to(addr, change)).await;
            (addr, outcome.unwrap_or_else(|_| Err(no_response())))
        });
        let mut is_made = false;
        for (addr, outcome) in join_all(sent).await {
            let label = if outcome.is_ok() { "made" } else { "missed" };
            self.changes.with_label_values(&[label]).inc();
            match outcome {
                Ok(Outcome::Made) => is_made = true,
                Ok(Outcome::NoChange) => {}
                Err(cause) => missed.push(MissedGateway { gateway: addr.to_string(), cause }),
            }
        }
        missed.sort();
        for MissedGateway { gateway, cause } in &missed {
            let (method, path) = (change.method, change.uri.path());
            tracing::warn!(gateway, cause, %method, path, "a change missed a gateway");
        }
        Outcomes { is_made, missed }
    }

    /// The addresses, each once, and the names that have none.
    async fn resolved(&self, deadline: Instant) -> (BTreeSet<SocketAddr>, Vec<MissedGateway>) {
        let resolved = self.names.iter().map(|name| async move {
            match name {
                PeerName::Addr(addr) => Ok(vec![*addr]),
                PeerName::Service(service) => {
                    let found = timeout_at(deadline, lookup(service, self.discovery)).await;
                    let cause = match found {
                        Ok(Ok(addrs)) => return Ok(addrs),
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => "its name was not resolved in time".to_owned(),
                    };
                    Err(MissedGateway { gateway: name.to_string(), cause })
                }
            }
        });
        let (mut addrs, mut missed) = (BTreeSet::new(), Vec::new());
        for found in join_all(resolved).await {
            match found {
                Ok(found) => addrs.extend(found),
                Err(unresolved) => {
                    self.changes.with_label_values(&["missed"]).inc();
                    missed.push(unresolved);
                }
            }
        }
        addrs.remove(&self.own);
        (addrs, missed)
    }

    async fn send_to(&self, addr: SocketAddr, change: &Change<'_>) -> Result<Outcome, String> {
        let target = change.uri.path_and_query().map_or("/", |target| target.as_str());
        let url = format!("http://{addr}{target}");
        let token = self.token.as_ref().map_or("", |token| token.expose_secret());
        let mut request = self
            .client
            .request(change.method.as_str().parse().map_err(|_| "no such method".to_owned())?, url)
            .bearer_auth(token)
            .header(HOST, &self.host)
            .header(headers::CHANGE_ORDER, change.order.to_string())
            // A kept connection may have ended unseen, and a change is not repeated.
            .header(CONNECTION, "close");
        if !change.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(change.body.clone());
        }
        let response = request.send().await.map_err(|error| failed(&error))?;
        self.outcome(change.method, response).await
    }

    async fn outcome(&self, method: &Method, response: Response) -> Result<Outcome, String> {
        let status = response.status();
        if status.is_success() {
            let is_later = response.headers().contains_key(headers::CHANGE_ORDER);
            return Ok(if is_later { Outcome::NoChange } else { Outcome::Made });
        }
        let problem: Option<Problem> = response.json().await.ok();
        let Some(Problem { code, detail, .. }) = problem else {
            return Err(format!("it responded with {status}"));
        };
        match code {
            ErrorCode::InstanceNotFound if *method == Method::DELETE => Ok(Outcome::NoChange),
            ErrorCode::Unauthorized => Err("it rejects the token".to_owned()),
            ErrorCode::MisdirectedRequest => {
                Err(format!("its [control] allowed_hosts lacks '{}'", self.host))
            }
            _ => Err(detail.into_owned()),
        }
    }
}

fn no_response() -> String {
    format!("no response within {} s; it may still make the change", TIMEOUT.as_secs())
}

/// The cause that is deepest: the others only say that a request failed.
fn failed(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return no_response();
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
