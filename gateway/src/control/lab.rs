//! `/control/v1/lab`: kills, stops, starts and scales instances by the local stack's agent, so that
//! the board knows one origin and never sees the agent's token.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::agent::{Scale, StackStatus};
use proto_contracts::control::{Lab, LabAction, LabInstance, LabScale, MOST_INSTANCES};
use proto_contracts::error::FieldError;
use proto_contracts::{ErrorCode, InstanceName};
use reqwest::Method;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::backend::Backend;
use crate::control::state::State;

pub(super) async fn show(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let lab = match &state.agent {
        Some(agent) => lab(&state, status(agent).await?),
        None => Lab {
            agent: false,
            class: state.class.is_some(),
            instances: Vec::new(),
            most_instances: MOST_INSTANCES,
        },
    };
    response::no_store(StatusCode::OK, &lab)
}

pub(super) async fn act(
    _: NoQuery,
    state: web::Data<State>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let agent = agent(&state)?;
    let (name, action) = path.into_inner();
    let action: LabAction = action.parse().map_err(|unknown| {
        ApiError::new(ErrorCode::NotFound, format!("There is no action '{action}': {unknown}."))
    })?;
    let no_instance = || {
        let detail = format!("No instance of the stack is named '{name}'.");
        ApiError::new(ErrorCode::InstanceNotFound, detail)
    };
    let name: InstanceName = name.parse().map_err(|_| no_instance())?;
    // Not the databases or the gateway, which the agent also knows.
    let known = lab(&state, status(agent).await?).instances;
    let is_instance = known.iter().any(|one| one.name == name.as_str());
    if !is_instance {
        return Err(no_instance());
    }
    let path = format!("/instances/{name}/{}", action.of_agent().as_str());
    let status = agent.send(agent.request(Method::POST, &path)).await?;
    response::no_store(StatusCode::OK, &lab(&state, status))
}

pub(super) async fn scale(
    _: NoQuery,
    state: web::Data<State>,
    pool: web::Path<String>,
    Json(LabScale { instances }): Json<LabScale>,
) -> Result<HttpResponse, ApiError> {
    let agent = agent(&state)?;
    let pool = state.pool(&pool)?.name();
    if !(1..=MOST_INSTANCES).contains(&instances) {
        let fault = FieldError::in_body("/instances", format!("must be 1 to {MOST_INSTANCES}"));
        return Err(ApiError::invalid(ErrorCode::InvalidBody, vec![fault]));
    }
    let scale = Scale { pool, instances, force: false };
    let status = agent.send(agent.request(Method::POST, "/scale").json(&scale)).await?;
    response::no_store(StatusCode::OK, &lab(&state, status))
}

/// The state of the stack.
async fn status(agent: &Backend) -> Result<StackStatus, ApiError> {
    agent.send(agent.request(Method::GET, "/status")).await
}

fn agent(state: &State) -> Result<&Backend, ApiError> {
    state.agent.as_ref().ok_or_else(|| {
        let detail = "This gateway has no agent ([control] agent), so it starts and stops nothing.";
        ApiError::new(ErrorCode::NotFound, detail)
    })
}

/// What the board may know of the stack.
fn lab(state: &State, status: StackStatus) -> Lab {
    let instance = |component: proto_contracts::agent::ComponentStatus| {
        let pool = component.pool?;
        Some(LabInstance { name: component.name, pool, state: component.state })
    };
    let instances = status.components.into_iter().filter_map(instance).collect();
    let class = state.class.is_some();
    Lab { agent: true, class, instances, most_instances: MOST_INSTANCES }
}
