//! Endpoints for gateways under `/internal`: begin or end a drain, set the weight.
//!
//! The instance stores both and reports them in every `/health` response. So all its gateways
//! agree, even those that start later. A request must carry the instance's token.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::WeightDecision;
use proto_contracts::control::DrainInstance;
use proto_contracts::headers::{DRAIN_DECISION, WEIGHT};
use proto_contracts::health::{DRAIN_PATH, DrainDecision, WEIGHT_PATH};
use secrecy::SecretString;

use crate::body::Json;
use crate::health::Health;
use crate::problem::ApiError;
use crate::routes::{self, delete, put};
use crate::tokens::{is_secret, sent_token};

/// `INSTANCE_TOKEN`.
struct Token(SecretString);

pub(crate) fn mount(app: &mut web::ServiceConfig, token: SecretString) {
    app.app_data(web::Data::new(Token(token)));
    routes::mount_at(app, DRAIN_PATH, [put(begin_drain), delete(end_drain)]);
    routes::mount_at(app, WEIGHT_PATH, [put(set_weight)]);
}

async fn begin_drain(
    _: Authorized,
    request: HttpRequest,
    health: web::Data<Health>,
    Json(drain): Json<DrainInstance>,
) -> Result<HttpResponse, ApiError> {
    if drain.deadline_s.is_some_and(|deadline| deadline > DrainInstance::MAX_DEADLINE_S) {
        let detail = format!("'deadline_s' must be 0 to {}.", DrainInstance::MAX_DEADLINE_S);
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    if health.begin_drain(drain.deadline_s.map(Duration::from_secs), decided_ms(&request)) {
        tracing::info!(deadline_s = drain.deadline_s, "drain started");
    }
    Ok(no_content())
}

async fn end_drain(
    _: Authorized,
    request: HttpRequest,
    health: web::Data<Health>,
) -> Result<HttpResponse, ApiError> {
    if health.end_drain(decided_ms(&request)) {
        tracing::info!("drain ended");
    }
    Ok(no_content())
}

async fn set_weight(
    _: Authorized,
    request: HttpRequest,
    health: web::Data<Health>,
) -> Result<HttpResponse, ApiError> {
    let decision: Option<WeightDecision> =
        request.headers().get(WEIGHT).and_then(|value| value.to_str().ok()?.parse().ok());
    let decision = decision.ok_or_else(|| {
        let detail = format!("The header {WEIGHT} must be '<1 to 256>; decided=<unix ms>'.");
        ApiError::new(ErrorCode::BadRequest, detail)
    })?;
    if health.set_weight(decision) {
        tracing::info!(weight = %decision.weight, "weight changed");
    }
    Ok(no_content())
}

/// The time of the operator's decision. Gateways of older versions don't send it.
fn decided_ms(request: &HttpRequest) -> Option<u64> {
    let text = request.headers().get(DRAIN_DECISION)?.to_str().ok()?;
    text.parse().ok().map(|decision: DrainDecision| decision.decided_ms)
}

fn no_content() -> HttpResponse {
    HttpResponse::build(StatusCode::NO_CONTENT).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// Proof that the request carries the instance's token. It must be a handler's first argument:
/// actix extracts arguments in order, so a request without the token is rejected before its body is
/// read.
pub struct Authorized;

impl FromRequest for Authorized {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = request.app_data::<web::Data<Token>>();
        ready(match (sent_token(request.headers()), token) {
            (Some(sent), Some(token)) if is_secret(sent, &token.0) => Ok(Self),
            _ => Err(ApiError::new(
                ErrorCode::Unauthorized,
                "The token is not this instance's INSTANCE_TOKEN.",
            )),
        })
    }
}
