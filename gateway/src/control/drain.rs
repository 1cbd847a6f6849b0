//! `POST /control/v1/pools/{pool}/instances/{name}/drain` and `…/undrain`.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::DrainInstance;
use service_kit::answer;
use service_kit::body::Json;
use service_kit::problem::ApiError;

use crate::control::{State, pools};
use crate::pool::Pool;

/// Drains an instance: it takes no new key, and its keys move away at the deadline or when nothing is left there. It announces
/// that to all gateways; when it cannot be told, this gateway drains it alone, and the answer says so.
pub(super) async fn drain(
    state: web::Data<State>,
    path: web::Path<(String, String)>,
    Json(wanted): Json<DrainInstance>,
) -> Result<HttpResponse, ApiError> {
    let (pool, addr) = find(&state, &path)?;
    if wanted.deadline_s > DrainInstance::MAX_DEADLINE_S {
        let detail = format!("'deadline_s' must be 0 to {}, in seconds.", DrainInstance::MAX_DEADLINE_S);
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    let deadline = Duration::from_secs(wanted.deadline_s);
    match state.prober.tell_drain(addr, Some(deadline)).await {
        Ok(()) => {
            pool.end_lone_drain(addr);
            pool.record_probe(addr, state.prober.probe(addr).await);
        }
        Err(error) => {
            tracing::warn!(pool = %pool.name(), %addr, %error, "this gateway alone drains the instance");
            pool.drain_alone(addr, deadline, error.to_string());
        }
    }
    shown(pool, addr)
}

/// Ends a drain: the instance gets its keys back.
pub(super) async fn undrain(
    state: web::Data<State>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (pool, addr) = find(&state, &path)?;
    let was_ours = pool.end_lone_drain(addr);
    match state.prober.tell_drain(addr, None).await {
        Ok(()) => pool.record_probe(addr, state.prober.probe(addr).await),
        Err(_) if was_ours => {}
        Err(error) => return Err(ApiError::new(ErrorCode::UpstreamFailed, format!("Nothing was changed: {error}."))),
    }
    shown(pool, addr)
}

fn find<'a>(state: &'a State, path: &(String, String)) -> Result<(&'a Pool, SocketAddr), ApiError> {
    let (pool, name) = path;
    let pool = state.pool(pool)?;
    let addr = pool.slots(|slots| {
        let is_it = |known: &&crate::pool::Slot| known.name().is_some_and(|known| known.as_str() == name);
        slots.iter().find(is_it).map(|slot| slot.addr())
    });
    let addr = addr.ok_or_else(|| {
        ApiError::new(
            ErrorCode::InstanceNotFound,
            format!("The pool has no instance '{name}' to drain or to bring back."),
        )
    })?;
    Ok((pool, addr))
}

fn shown(pool: &Pool, addr: SocketAddr) -> Result<HttpResponse, ApiError> {
    let instance = pool.slots(|slots| {
        let slot = slots.iter().find(|slot| slot.addr() == addr)?;
        Some(pools::instance(slot, 0.0))
    });
    let Some(mut instance) = instance else {
        return Err(ApiError::new(ErrorCode::InstanceNotFound, format!("The instance at {addr} was removed again.")));
    };
    instance.key_share_percent = pools::key_share(pool, instance.name.as_ref());
    answer::no_store(StatusCode::OK, &instance)
}
