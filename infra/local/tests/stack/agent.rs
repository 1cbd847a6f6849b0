//! The agent's HTTP API, with and without its token.

use std::fs;

use anyhow::Result;
use proto_contracts::agent::{ComponentState, LogLines, Phase, StackStatus};
use proto_contracts::{ErrorCode, Problem};
use reqwest::{Client, Method, RequestBuilder};

use crate::client_without_ca;
use crate::command_line::Installation;
use crate::lab::{LabClient, the_gateway_passes_on_what_is_listed};

struct Agent {
    client: Client,
    port: u16,
    token: String,
}

impl Agent {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://127.0.0.1:{}/agent/v1/{path}", self.port))
    }

    fn authorized(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&self.token)
    }
}

async fn error_code(request: RequestBuilder) -> Result<ErrorCode> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: Problem = response.json().await?;
    assert_eq!(problem.status, status);
    assert_eq!(problem.code.status(), status);
    Ok(problem.code)
}

#[tokio::test]
async fn the_agent_acts_with_the_token_and_rejects_the_rest() -> Result<()> {
    let installation = Installation::new()?;
    installation.up()?;
    let token = fs::read_to_string(installation.state().join("agent.token"))?.trim().to_owned();
    let agent = Agent { client: client_without_ca()?, port: 8002 + installation.offset, token };

    let status: StackStatus = agent.request(Method::GET, "status").send().await?.json().await?;
    let names = status.components.iter().map(|part| part.name.as_str());
    let (exporters, names): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with("-exporter"));
    assert_eq!(exporters, crate::monitoring::exporters(), "the installed ones");
    // `local-stack up` adds Prometheus where it is installed, and CI installs it.
    let all = "postgres redis-sessions redis-cache stateless-1 stateful-1 stateful-2 gateway \
               nginx prometheus";
    assert_eq!((status.phase, names.join(" ")), (Phase::Ready, all.to_owned()));
    assert!(
        status
            .components
            .iter()
            .all(|part| part.state == ComponentState::Running && part.pid.is_some())
    );

    let killed = agent.authorized(Method::POST, "instances/stateful-2/kill").send().await?;
    let killed: StackStatus = killed.json().await?;
    let state = |status: &StackStatus, name: &str| {
        status.components.iter().find(|part| part.name == name).map(|part| part.state)
    };
    assert_eq!(state(&killed, "stateful-2"), Some(ComponentState::Killed));
    assert_eq!(
        error_code(agent.authorized(Method::POST, "instances/stateful-2/stop")).await?,
        ErrorCode::WrongState
    );
    let started = agent.authorized(Method::POST, "instances/stateful-2/start").send().await?;
    assert_eq!(state(&started.json().await?, "stateful-2"), Some(ComponentState::Running));
    for (action, expected) in
        [("pause", ComponentState::Paused), ("resume", ComponentState::Running)]
    {
        let acted = agent
            .authorized(Method::POST, &format!("instances/stateful-1/{action}"))
            .send()
            .await?;
        assert_eq!(state(&acted.json().await?, "stateful-1"), Some(expected));
    }
    let scale = |body: &'static str| agent.authorized(Method::POST, "scale").body(body);
    let scaled = scale(r#"{"pool":"stateless","instances":2}"#).send().await?;
    assert_eq!(state(&scaled.json().await?, "stateless-2"), Some(ComponentState::Running));
    let control_token = fs::read_to_string(installation.state().join("control.token"))?;
    let lab = LabClient {
        client: agent.client.clone(),
        port: 8001 + installation.offset,
        token: control_token.trim().to_owned(),
    };
    the_gateway_passes_on_what_is_listed(&lab).await?;
    let log: LogLines =
        agent.authorized(Method::GET, "logs/gateway?lines=2").send().await?.json().await?;
    assert!((1..=2).contains(&log.lines.len()) && log.path.ends_with("gateway.log"), "{log:?}");

    for path in ["scale", "instances/gateway/kill", "shutdown"] {
        assert_eq!(
            error_code(agent.request(Method::POST, path)).await?,
            ErrorCode::Unauthorized,
            "{path}"
        );
        let wrong = agent.request(Method::POST, path).bearer_auth("0".repeat(64));
        assert_eq!(error_code(wrong).await?, ErrorCode::Unauthorized, "{path}");
    }
    assert_eq!(
        error_code(agent.request(Method::GET, "logs/gateway")).await?,
        ErrorCode::Unauthorized
    );
    let rebound = agent.authorized(Method::GET, "status").header("Host", "tandem.example:8002");
    assert_eq!(error_code(rebound).await?, ErrorCode::MisdirectedRequest);
    assert_eq!(error_code(scale("{")).await?, ErrorCode::MalformedJson);
    for body in [
        r#"{"pool":"stateless"}"#,
        r#"{"pool":"x","instances":1}"#,
        r#"{"pool":"stateful","instances":999}"#,
    ] {
        assert_eq!(error_code(scale(body)).await?, ErrorCode::InvalidBody, "{body}");
    }
    for (method, path, code) in [
        (Method::POST, "instances/unknown/kill", ErrorCode::InstanceNotFound),
        (Method::POST, "instances/gateway/explode", ErrorCode::NotFound),
        (Method::GET, "logs/unknown", ErrorCode::InstanceNotFound),
        (Method::GET, "logs/gatewa%79%2f..", ErrorCode::BadRequest),
        (Method::GET, "logs/gateway?lines=many", ErrorCode::InvalidQuery),
        (Method::GET, "nothing", ErrorCode::NotFound),
        (Method::GET, "scale", ErrorCode::MethodNotAllowed),
        (Method::POST, "status", ErrorCode::MethodNotAllowed),
    ] {
        assert_eq!(
            error_code(agent.authorized(method.clone(), path)).await?,
            code,
            "{method} {path}"
        );
    }
    assert_eq!(agent.authorized(Method::POST, "shutdown").send().await?.status(), 202);
    Ok(())
}
