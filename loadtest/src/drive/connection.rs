//! A kept connection to the system.

use std::time::Duration;

use tokio::time::timeout;

use crate::client::{Client, Response, ScenarioRequest};
use crate::drive::args::TargetUrl;
use crate::outcome::ErrorKind;

/// Connected with the first request, and again after a failure, with the name resolved anew.
#[derive(Default)]
pub(super) struct Connection(Option<Client>);

impl Connection {
    /// Sends a request, which counts as failed after `limit`.
    pub(super) async fn send(
        &mut self,
        target: &TargetUrl,
        request: ScenarioRequest,
        limit: Duration,
    ) -> Result<Response, ErrorKind> {
        let client = match &mut self.0 {
            Some(client) => client,
            None => {
                let target = target.resolve().await.map_err(|_| ErrorKind::Connect)?;
                self.0.insert(Client::new(target))
            }
        };
        match timeout(limit, client.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                self.0 = None;
                Err(ErrorKind::from(&error))
            }
            Err(_elapsed) => Err(ErrorKind::Timeout),
        }
    }
}
