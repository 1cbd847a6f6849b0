//! `/control/v1/lessons` and `/control/v1/lesson`: lessons that the traffic driver of a local stack
//! runs, one at a time.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::{
    ContinueLesson, DRIVER_LESSON_PATH, DRIVER_LESSONS_PATH, Lessons, StartLesson,
};
use reqwest::Method;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;

/// The longest name that is passed on; the driver knows which there are.
const MAX_NAME: usize = 40;

pub(super) async fn show(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let lessons = match &state.driver {
        Some(driver) => driver.send(driver.request(Method::GET, DRIVER_LESSONS_PATH)).await?,
        None => Lessons::without_driver(),
    };
    response::no_store(StatusCode::OK, &lessons)
}

pub(super) async fn start(
    _: NoQuery,
    state: web::Data<State>,
    name: web::Path<String>,
    Json(options): Json<StartLesson>,
) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    // Nothing that could be another path at the driver.
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    if name.len() > MAX_NAME || !name.bytes().all(is_name) {
        let detail =
            "The name of a lesson is of small letters and '-'; see GET /control/v1/lessons.";
        return Err(ApiError::new(ErrorCode::NotFound, detail));
    }
    let path = format!("{DRIVER_LESSONS_PATH}/{name}");
    let request = driver.request(Method::POST, &path).json(&options);
    response::no_store(StatusCode::OK, &driver.send::<Lessons>(request).await?)
}

pub(super) async fn go_on(
    _: NoQuery,
    state: web::Data<State>,
    Json(step): Json<ContinueLesson>,
) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    let faults = step.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    let request = driver.request(Method::POST, DRIVER_LESSON_PATH).json(&step);
    response::no_store(StatusCode::OK, &driver.send::<Lessons>(request).await?)
}

pub(super) async fn stop(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    let request = driver.request(Method::DELETE, DRIVER_LESSON_PATH);
    response::no_store(StatusCode::OK, &driver.send::<Lessons>(request).await?)
}
