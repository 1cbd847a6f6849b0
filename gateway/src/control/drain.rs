//! `POST /control/v1/pools/{pool}/instances/{name}/drain` and `…/undrain`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::{self, DrainInstance, InstanceChanged};
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;
use crate::control::{pools, saved};
use crate::pool::{LastInstance, Pool};

/// Drains an instance: it gets no new keys, and its keys move at the deadline or when it has no
/// sessions. It announces the drain to all gateways. Until the request to it succeeds, only this
/// gateway drains it, as the response shows.
pub(super) async fn drain(
    _: NoQuery,
    state: web::Data<State>,
    path: web::Path<(String, String)>,
    Json(wanted): Json<DrainInstance>,
) -> Result<HttpResponse, ApiError> {
    let (pool, addr) = find(&state, &path)?;
    if wanted.deadline_s.is_some_and(|deadline| deadline > DrainInstance::MAX_DEADLINE_S) {
        let detail =
            format!("'deadline_s' must be 0 to {}, in seconds.", DrainInstance::MAX_DEADLINE_S);
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    let deadline = wanted.deadline_s.map(Duration::from_secs);
    let draining = Arc::clone(pool);
    let pending = saved::change(
        move || draining.drain(addr, deadline, wanted.force),
        |last| last_instance(&last),
    )
    .await?;
    if let Some(pending) = pending {
        let _in_its_note = state.prober.set_drain_and_check(pool, pending).await;
    }
    shown(pool, addr)
}

/// Ends a drain: the instance gets its keys back. Without a drain it has no effect.
pub(super) async fn undrain(
    _: NoQuery,
    state: web::Data<State>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (pool, addr) = find(&state, &path)?;
    // Another gateway may have just begun the drain.
    state.prober.check(pool, addr).await;
    let undraining = Arc::clone(pool);
    let undrain = saved::change(move || undraining.undrain(addr), |never| match never {}).await?;
    if let Some(undrain) = undrain
        && let Err(error) = state.prober.set_drain_and_check(pool, undrain.pending).await
        && pool.resume_drain(&undrain)
    {
        return Err(ApiError::new(
            ErrorCode::UpstreamFailed,
            format!("Nothing was changed: {error}."),
        ));
    }
    shown(pool, addr)
}

/// The error for an action on the last available instance.
pub(super) fn last_instance(last: &LastInstance) -> ApiError {
    ApiError::new(ErrorCode::LastInstance, format!("Nothing was changed: {last}."))
}

pub(super) fn find<'a>(
    state: &'a State,
    path: &(String, String),
) -> Result<(&'a Arc<Pool>, SocketAddr), ApiError> {
    let (pool, name) = path;
    let pool = state.pool(pool)?;
    let addr = pool.addr_of(name).ok_or_else(|| {
        ApiError::new(ErrorCode::InstanceNotFound, format!("The pool has no instance '{name}'."))
    })?;
    Ok((pool, addr))
}

/// The current state of the instance at this address.
pub(super) fn shown(pool: &Pool, addr: SocketAddr) -> Result<HttpResponse, ApiError> {
    let changed = InstanceChanged { instance: instance(pool, addr)?, missed: Vec::new() };
    response::no_store(StatusCode::OK, &changed)
}

/// The instance at this address.
///
/// # Errors
/// When it was removed.
pub(super) fn instance(pool: &Pool, addr: SocketAddr) -> Result<control::Instance, ApiError> {
    let instance = pool.with_registry(|registry| {
        let host = registry.hosts().iter().find(|host| host.addr() == addr)?;
        Some(pools::instance(registry, host, 0.0))
    });
    let Some(mut instance) = instance else {
        return Err(ApiError::new(
            ErrorCode::InstanceNotFound,
            format!("The instance at {addr} was removed."),
        ));
    };
    instance.member = pools::membership(&pool.snapshot(), instance.name.as_ref());
    instance.key_share_percent = pools::key_share(pool, instance.name.as_ref());
    Ok(instance)
}
