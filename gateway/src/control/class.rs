//! `/control/v1/class`: the people of a class, over all instances.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use proto_contracts::control::{Class, INSTANCE_CLASS_PATH, InstanceClass, Person};
use proto_contracts::{ErrorCode, PoolName, SessionDigest};
use secrecy::ExposeSecret;
use service_kit::body::NoQuery;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::config::Room;
use crate::control::guard;
use crate::control::state::State;
use crate::health_check::DrainRequestError;
use crate::pool::Host;

/// Shows the room and its people. Other reads need no token, but this response has the code that
/// opens the room.
pub(super) async fn show(
    request: HttpRequest,
    _: NoQuery,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    if !guard::holds_token(request.headers(), state.token.as_ref()) {
        let detail = "The class has the code of its room, so it needs the CONTROL_TOKEN.";
        return Err(ApiError::new(ErrorCode::Unauthorized, detail));
    }
    let room = room(&state)?;
    let mut newest: HashMap<String, Person> = HashMap::new();
    let mut missed = Vec::new();
    for (instance, outcome) in of_all(&state, "GET", INSTANCE_CLASS_PATH).await {
        let class = outcome.ok().filter(|(status, _)| *status == StatusCode::OK.as_u16());
        let class = class.and_then(|(_, body)| serde_json::from_slice::<InstanceClass>(&body).ok());
        let Some(class) = class else {
            missed.push(instance);
            continue;
        };
        for served in class.people {
            let member = Person { instance: instance.clone(), served };
            let known = newest.get(&member.served.digest);
            if known.is_none_or(|known| known.served.served_at_ms < member.served.served_at_ms) {
                newest.insert(member.served.digest.clone(), member);
            }
        }
    }
    let mut people: Vec<_> = newest.into_values().collect();
    people.sort_by(|a, b| {
        (&a.served.nickname, &a.served.digest).cmp(&(&b.served.nickname, &b.served.digest))
    });
    let code = room.code.expose_secret().to_owned();
    let qr = room.qr.expose_secret().lines().map(str::to_owned).collect();
    let class = Class { url: format!("{}#{code}", room.page), code, qr, people, missed };
    response::no_store(StatusCode::OK, &class)
}

/// Ends one session, by its digest. Every instance is asked, since each may have served it.
pub(super) async fn kick(
    _: NoQuery,
    state: web::Data<State>,
    digest: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    room(&state)?;
    let Some(digest) = SessionDigest::parse_bytes(digest.as_bytes()) else {
        return Err(no_session("The path has no digest of 32 hex digits."));
    };
    let outcomes = of_all(&state, "DELETE", &format!("{INSTANCE_CLASS_PATH}/{digest}")).await;
    if outcomes.iter().any(|(_, outcome)| is_done(outcome)) {
        return Ok(no_content());
    }
    refuse_missed(&outcomes)?;
    Err(no_session("No instance has served a session of the class with this digest."))
}

/// Ends all sessions of the class.
pub(super) async fn reset(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    room(&state)?;
    refuse_missed(&of_all(&state, "DELETE", INSTANCE_CLASS_PATH).await)?;
    Ok(no_content())
}

type Outcome = Result<(u16, Vec<u8>), DrainRequestError>;

/// The outcome at each stateful instance, by its name or address.
async fn of_all(state: &State, method: &str, path: &str) -> Vec<(String, Outcome)> {
    let hosts = state.pools.get(PoolName::Stateful).hosts(|hosts| {
        let named = |host: &Host| {
            let name = host.name().map_or_else(|| host.addr().to_string(), ToString::to_string);
            (name, host.addr())
        };
        hosts.iter().map(named).collect::<Vec<_>>()
    });
    let asked = hosts.into_iter().map(|(name, addr)| async move {
        let outcome = state.prober.ask_of_class(addr, method, path).await;
        (name, outcome.map(|(status, body)| (status.as_u16(), body)))
    });
    join_all(asked).await
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Ok((status, _)) if *status == StatusCode::NO_CONTENT.as_u16())
}

/// The error that names the instances which neither did it nor know nothing of it.
fn refuse_missed(outcomes: &[(String, Outcome)]) -> Result<(), ApiError> {
    let not_found = StatusCode::NOT_FOUND.as_u16();
    let missed = outcomes.iter().filter(|(_, outcome)| {
        !is_done(outcome) && !matches!(outcome, Ok((status, _)) if *status == not_found)
    });
    let missed: Vec<_> = missed.map(|(name, _)| name.as_str()).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let detail = format!("Not confirmed by {}; repeat it.", missed.join(", "));
    Err(ApiError::new(ErrorCode::UpstreamFailed, detail))
}

fn room(state: &State) -> Result<&Room, ApiError> {
    state.class.as_ref().ok_or_else(|| {
        let detail = "No class is open: the gateway has no CLASS_URL (`make up CLASS=1`).";
        ApiError::new(ErrorCode::NotFound, detail)
    })
}

fn no_session(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::SessionNotFound, detail)
}

fn no_content() -> HttpResponse {
    HttpResponse::build(StatusCode::NO_CONTENT).insert_header((CACHE_CONTROL, "no-store")).finish()
}
