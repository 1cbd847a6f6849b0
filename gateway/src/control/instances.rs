//! `POST /control/v1/pools/{pool}/instances` and `DELETE …/instances/{name}`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpResponse, web};
use proto_contracts::control::{
    AddInstance, ChangeInstance, InstanceAdded, InstanceState, Lasts, RemoveQuery,
};
use proto_contracts::{ErrorCode, headers};
use service_kit::body::{Json, NoQuery, Query};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;
use crate::control::{drain, saved};
use crate::pool::ProbeError;
use crate::pool::{Host, Pool, RemoveError};

/// Adds an instance and checks it at once. An unreachable one is added as `pending`, with the
/// reason; an address that is not an instance of the pool is rejected. Added again, it renews its
/// lease, or lasts.
pub(super) async fn add(
    _: NoQuery,
    state: web::Data<State>,
    pool: web::Path<String>,
    Json(wanted): Json<AddInstance>,
) -> Result<HttpResponse, ApiError> {
    let pool = state.pool(&pool)?;
    let addr = wanted.addr;
    if addr.port() == 0 || addr.ip().is_unspecified() {
        let detail = format!("{addr} is not an address that can be connected to.");
        return Err(ApiError::new(ErrorCode::InvalidInstance, detail));
    }
    if wanted.lease_s.is_some_and(|lease| !AddInstance::LEASES_S.contains(&lease)) {
        let (least, most) = AddInstance::LEASES_S.into_inner();
        let detail = format!("'lease_s' must be {least} to {most}, in seconds.");
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    let lease = wanted.lease_s.map(Duration::from_secs);
    let exists = |error| {
        ApiError::new(ErrorCode::InstanceExists, format!("The request changed nothing: {error}."))
    };
    let is_there = |hosts: &[Host]| hosts.iter().any(|host| host.addr() == addr);
    if pool.hosts(is_there) {
        let renewing = Arc::clone(pool);
        saved::change(move || renewing.renew(addr, lease), exists).await?;
        state.prober.check(pool, addr).await;
        return added(pool, addr, StatusCode::OK);
    }
    if let Err(ProbeError::Mismatch(mismatch)) = state.prober.probe(pool.name(), addr).await {
        let detail = format!("Nothing was changed. {addr}: {mismatch}.");
        return Err(ApiError::new(ErrorCode::WrongInstance, detail));
    }
    let adding = Arc::clone(pool);
    saved::change(move || adding.add(addr, wanted.weight, lease), exists).await?;
    // The whole pool first, to find out whether a holder of the same name is still alive. Then the
    // new one again, because its check may have come before the holder's.
    state.prober.probe_pool(pool).await;
    state.prober.check(pool, addr).await;
    let duplicate = pool.hosts(|hosts| {
        let host = hosts.iter().find(|host| host.addr() == addr)?;
        let is_duplicate = host.state() == InstanceState::DuplicateName;
        is_duplicate.then(|| host.last_error().unwrap_or_default().to_owned())
    });
    if let Some(why) = duplicate {
        pool.take_back(addr);
        return Err(ApiError::new(
            ErrorCode::InstanceExists,
            format!("Nothing was changed. {addr}: {why}."),
        ));
    }
    added(pool, addr, StatusCode::CREATED)
}

/// Changes the weight of an instance, which announces it to all gateways. If the request to it
/// fails, nothing changes, because gateways with different weights would disagree on homes.
pub(super) async fn change(
    _: NoQuery,
    state: web::Data<State>,
    path: web::Path<(String, String)>,
    Json(wanted): Json<ChangeInstance>,
) -> Result<HttpResponse, ApiError> {
    let (pool, addr) = drain::find(&state, &path)?;
    let weighing = Arc::clone(pool);
    let decided =
        saved::change(move || weighing.set_weight(addr, wanted.weight), |never| match never {})
            .await?;
    if let Some((before, pending)) = decided
        && let Err(error) = state.prober.set_weight_and_check(pool, pending).await
    {
        pool.restore_weight(addr, before);
        let detail = format!(
            "Nothing was changed: {error}. A weight in the gateways' configuration or the \
             instance's INSTANCE_WEIGHT needs no such request."
        );
        return Err(ApiError::new(ErrorCode::UpstreamFailed, detail));
    }
    drain::shown(pool, addr)
}

/// The response for an added instance.
fn added(pool: &Pool, addr: SocketAddr, status: StatusCode) -> Result<HttpResponse, ApiError> {
    let instance = drain::instance(pool, addr)?;
    let lasts = match instance.lease_s {
        Some(_) => Lasts::UntilRestart,
        None => pool.changes_last(),
    };
    let added = InstanceAdded { instance, lasts, missed: Vec::new() };
    response::no_store(status, &added)
}

/// Removes an instance by name or address. Its requests in flight continue.
pub(super) async fn remove(
    state: web::Data<State>,
    path: web::Path<(String, String)>,
    Query(query): Query<RemoveQuery>,
) -> Result<HttpResponse, ApiError> {
    let (pool, name) = path.into_inner();
    let pool = Arc::clone(state.pool(&pool)?);
    let lasts = pool.changes_last();
    let removed = name.clone();
    let refused = |error| match error {
        RemoveError::Last(last) => drain::last_instance(&last),
        RemoveError::Unknown => ApiError::new(
            ErrorCode::InstanceNotFound,
            format!("'{name}' cannot be removed: {error}."),
        ),
    };
    let removing = Arc::clone(&pool);
    saved::change(move || removing.remove(&removed, query.force), refused).await?;
    if let Some(reason) = query.put_back {
        pool.put_back(&name, reason);
    }
    let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(HttpResponse::NoContent()
        .insert_header(no_store)
        .insert_header((headers::CHANGE_LASTS, lasts.as_str()))
        .finish())
}
