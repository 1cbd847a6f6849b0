//! What the gateway's control plane passes on to the agent, and what it does not.

use anyhow::Result;
use proto_contracts::agent::ComponentState;
use proto_contracts::control::{Lab, LabInstance};
use proto_contracts::{ErrorCode, PoolName, Problem};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// A gateway's control plane of a stack with an agent.
pub(crate) struct LabClient {
    pub(crate) client: Client,
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl LabClient {
    async fn send(&self, method: Method, path: &str, body: Value) -> Result<reqwest::Response> {
        let url = format!("http://127.0.0.1:{}/control/v1/lab{path}", self.port);
        let request = self.client.request(method, url).bearer_auth(&self.token);
        Ok(if body.is_null() { request } else { request.json(&body) }.send().await?)
    }

    async fn lab(&self, method: Method, path: &str, body: Value) -> Result<Lab> {
        let response = self.send(method, path, body).await?;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Ok(response.json().await?)
    }

    async fn refused(&self, path: &str, body: Value) -> Result<ErrorCode> {
        let method = if body.is_null() { Method::POST } else { Method::PUT };
        Ok(self.send(method, path, body).await?.json::<Problem>().await?.code)
    }
}

/// Kills, starts and scales instances, and nothing else. Leaves the stack as it was.
pub(crate) async fn the_gateway_passes_on_what_is_listed(lab: &LabClient) -> Result<()> {
    let before = lab.lab(Method::GET, "", Value::Null).await?;
    assert!(before.agent);
    // No database and no gateway.
    let names: Vec<_> = before.instances.iter().map(|instance| &*instance.name).collect();
    assert_eq!(names, ["stateless-1", "stateless-2", "stateful-1", "stateful-2"]);
    let text = lab.send(Method::GET, "", Value::Null).await?.text().await?;
    assert!(!text.contains("token") && !text.contains("pid"), "{text}");

    let state = |lab: &Lab, name: &str| {
        lab.instances.iter().find(|instance| instance.name == name).map(|found| found.state)
    };
    for (action, expected) in [
        ("kill", ComponentState::Killed),
        ("start", ComponentState::Running),
        ("stop", ComponentState::Stopped),
        ("start", ComponentState::Running),
    ] {
        let path = format!("/instances/stateful-2/{action}");
        let after = lab.lab(Method::POST, &path, Value::Null).await?;
        assert_eq!(state(&after, "stateful-2"), Some(expected), "{action}");
    }
    let scale = "/pools/stateful/scale";
    let more = lab.lab(Method::PUT, scale, json!({"instances": 3})).await?;
    let third = "stateful-3".to_owned();
    let third =
        LabInstance { name: third, pool: PoolName::Stateful, state: ComponentState::Running };
    assert!(more.instances.contains(&third), "{more:?}");
    lab.lab(Method::PUT, scale, json!({"instances": 2})).await?;

    for name in ["gateway", "postgres", "redis-sessions", "nginx", "stateful-9", "%20"] {
        let path = format!("/instances/{name}/kill");
        assert_eq!(lab.refused(&path, Value::Null).await?, ErrorCode::InstanceNotFound, "{name}");
    }
    for action in ["pause", "upgrade", "roll", "killing"] {
        let path = format!("/instances/stateful-1/{action}");
        assert_eq!(lab.refused(&path, Value::Null).await?, ErrorCode::NotFound, "{action}");
    }
    // The agent's own words.
    let twice = lab.refused("/instances/stateful-1/start", Value::Null).await?;
    assert_eq!(twice, ErrorCode::WrongState);
    for instances in [0, 9, 65_535] {
        let body = json!({"instances": instances});
        assert_eq!(lab.refused(scale, body).await?, ErrorCode::InvalidBody, "{instances}");
    }
    assert_eq!(
        lab.refused("/pools/other/scale", json!({"instances": 2})).await?,
        ErrorCode::PoolNotFound
    );
    let stranger = LabClient { client: lab.client.clone(), token: "0".repeat(64), ..*lab };
    for path in ["/instances/stateful-1/kill", "/instances/gateway/kill"] {
        assert_eq!(stranger.refused(path, Value::Null).await?, ErrorCode::Unauthorized, "{path}");
    }
    Ok(())
}
