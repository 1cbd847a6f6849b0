//! `GET /info`: the instance that serves the request.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::Timestamp;
use proto_contracts::stateless::Info;
use service_kit::body::NoQuery;
use service_kit::problem::ApiError;
use service_kit::response;

use super::app::App;
use crate::config::SERVICE;

pub(super) async fn info(_: NoQuery, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let info = Info {
        service: SERVICE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: app.instance.clone(),
        timestamp: Timestamp::now(),
        uptime_s: app.started.elapsed().as_secs(),
    };
    response::no_store(StatusCode::OK, &info)
}
