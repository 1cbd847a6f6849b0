//! `POST /control/v1/pools/{pool}/instances` and `DELETE …/instances/{name}`.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpResponse, web};
use proto_contracts::control::{AddInstance, InstanceAdded, InstanceState, RemoveQuery};
use proto_contracts::{ErrorCode, headers};
use service_kit::answer;
use service_kit::body::{Json, Query};
use service_kit::problem::ApiError;

use crate::control::{State, drain, pools, saved};
use crate::pool::RemoveError;

/// Adds an instance. It is asked for its name at once, so that the answer tells whether it is a member already.
pub(super) async fn add(
    state: web::Data<State>,
    pool: web::Path<String>,
    Json(wanted): Json<AddInstance>,
) -> Result<HttpResponse, ApiError> {
    let pool = state.pool(&pool)?;
    let addr = wanted.addr;
    if addr.port() == 0 || addr.ip().is_unspecified() {
        let detail = format!("{addr} is no address that can be connected to.");
        return Err(ApiError::new(ErrorCode::InvalidInstance, detail));
    }
    let exists = |error| ApiError::new(ErrorCode::InstanceExists, format!("The request changed nothing: {error}."));
    let adding = Arc::clone(pool);
    saved::change(move || adding.add(addr), exists).await?;
    // The whole pool first: that tells whether an instance that had the name is still there. Then the newcomer is heard
    // once more, since it may have told its name before the other was found gone.
    state.prober.probe_pool(pool).await;
    state.prober.check(pool, addr).await;
    let added = pool.slots(|slots| {
        let slot = slots.iter().find(|slot| slot.addr() == addr)?;
        Some(pools::instance(slot, 0.0))
    });
    match added {
        Some(instance) if instance.state == InstanceState::DuplicateName => {
            pool.take_back(addr);
            let detail = format!("The instance at {addr} tells a name that another healthy instance of the pool has.");
            Err(ApiError::new(ErrorCode::InstanceExists, detail))
        }
        Some(instance) => {
            answer::no_store(StatusCode::CREATED, &InstanceAdded { instance, lasts: pool.changes_last() })
        }
        None => Err(ApiError::new(ErrorCode::InstanceNotFound, format!("The instance at {addr} was removed again."))),
    }
}

/// Removes an instance by its name, or by its address when it has none yet. Requests in flight at it go on.
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
        RemoveError::Last(last) => drain::refusal(&last),
        RemoveError::Unknown => {
            ApiError::new(ErrorCode::InstanceNotFound, format!("'{name}' cannot be removed: {error}."))
        }
    };
    saved::change(move || pool.remove(&removed, query.force), refused).await?;
    let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(HttpResponse::NoContent()
        .insert_header(no_store)
        .insert_header((headers::CHANGE_LASTS, lasts.as_str()))
        .finish())
}
