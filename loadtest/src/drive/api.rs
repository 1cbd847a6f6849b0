//! The driver's HTTP API.

use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, HeaderValue};
use actix_web::{HttpResponse, web};
use proto_contracts::control::{
    ContinueLesson, Converse, DRIVER_CONVERSATION_PATH, DRIVER_LESSON_PATH, DRIVER_LESSONS_PATH,
    DRIVER_TRAFFIC_PATH, StartLesson, TrafficSettings,
};
use proto_contracts::openapi::Method;
use proto_contracts::{Authority, ErrorCode};
use secrecy::SecretString;
use service_kit::body::{Json, NoQuery};
use service_kit::edge::Admit;
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::routes::{delete, get, handler, mount_at, put};
use service_kit::tokens::{is_secret, sent_token};

use crate::drive::classroom::Refused;
use crate::drive::driver::Driver;

/// What needs no token: probes and metrics.
const OPEN: [&str; 4] = ["/health", "/livez", "/readyz", "/metrics"];

/// The check of each request: its `Host`, against DNS rebinding, and its token.
pub(super) fn admit(hosts: Vec<String>, token: SecretString) -> Box<Admit> {
    Box::new(move |request| {
        check_host(request, &hosts)?;
        if OPEN.contains(&request.path())
            || sent_token(request.headers()).is_some_and(|sent| is_secret(sent, &token))
        {
            return Ok(());
        }
        let detail = "Send the header 'Authorization: Bearer <DRIVER_TOKEN>'.";
        Err(ApiError::new(ErrorCode::Unauthorized, detail))
    })
}

fn check_host(request: &ServiceRequest, hosts: &[String]) -> Result<(), ApiError> {
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let fields = request.headers().get_all(HOST).map(HeaderValue::as_bytes);
    let is_known = |host: Authority<'_>| hosts.iter().any(|name| host.has_host(name.as_bytes()));
    if Authority::requested(in_target, fields).is_some_and(is_known) {
        return Ok(());
    }
    let detail = "This Host is neither of loopback nor one of --host.";
    Err(ApiError::new(ErrorCode::MisdirectedRequest, detail))
}

/// Mounts the operations.
pub(super) fn mount(app: &mut web::ServiceConfig, driver: web::Data<Driver>) {
    app.app_data(driver);
    mount_at(app, DRIVER_TRAFFIC_PATH, [get(show), put(run), delete(stop)]);
    mount_at(app, DRIVER_CONVERSATION_PATH, [(Method::Post, handler(converse))]);
    mount_at(app, DRIVER_LESSONS_PATH, [get(show_lessons)]);
    let start = (Method::Post, handler(start_lesson));
    mount_at(app, &format!("{DRIVER_LESSONS_PATH}/{{lesson}}"), [start]);
    let lesson = [(Method::Post, handler(continue_lesson)), delete(stop_lesson)];
    mount_at(app, DRIVER_LESSON_PATH, lesson);
}

async fn show(_: NoQuery, driver: web::Data<Driver>) -> Result<HttpResponse, ApiError> {
    response::no_store(StatusCode::OK, &driver.show())
}

async fn run(
    _: NoQuery,
    driver: web::Data<Driver>,
    Json(settings): Json<TrafficSettings>,
) -> Result<HttpResponse, ApiError> {
    let faults = settings.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    driver.run(settings);
    response::no_store(StatusCode::OK, &driver.show())
}

async fn stop(_: NoQuery, driver: web::Data<Driver>) -> Result<HttpResponse, ApiError> {
    driver.stop().await;
    response::no_store(StatusCode::OK, &driver.show())
}

async fn converse(
    _: NoQuery,
    driver: web::Data<Driver>,
    Json(converse): Json<Converse>,
) -> Result<HttpResponse, ApiError> {
    let faults = converse.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    let conversation = driver.people.act(&driver.target, &converse).await;
    response::no_store(StatusCode::OK, &conversation)
}

async fn show_lessons(_: NoQuery, driver: web::Data<Driver>) -> Result<HttpResponse, ApiError> {
    lessons(&driver).await
}

async fn start_lesson(
    _: NoQuery,
    driver: web::Data<Driver>,
    name: web::Path<String>,
    Json(StartLesson { short }): Json<StartLesson>,
) -> Result<HttpResponse, ApiError> {
    let driver = driver.into_inner();
    driver.start_lesson(&name, short).await?;
    lessons(&driver).await
}

async fn continue_lesson(
    _: NoQuery,
    driver: web::Data<Driver>,
    Json(step): Json<ContinueLesson>,
) -> Result<HttpResponse, ApiError> {
    let faults = step.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    driver.lessons.go_on(step.step, step.guess)?;
    lessons(&driver).await
}

async fn stop_lesson(_: NoQuery, driver: web::Data<Driver>) -> Result<HttpResponse, ApiError> {
    driver.lessons.stop().await;
    lessons(&driver).await
}

async fn lessons(driver: &Driver) -> Result<HttpResponse, ApiError> {
    let shown = driver.lessons.show(driver.is_paused()).await;
    response::no_store(StatusCode::OK, &shown)
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(detail) => Self::new(ErrorCode::NotFound, detail),
            Refused::State(detail) => Self::new(ErrorCode::WrongLessonState, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn judge(path: &str, headers: &[(&str, &str)]) -> Result<(), ErrorCode> {
        let hosts = vec!["localhost".to_owned(), "driver".to_owned()];
        let request = headers
            .iter()
            .fold(TestRequest::with_uri(path), |request, header| request.insert_header(*header));
        let admit = admit(hosts, "0123456789abcdef".to_owned().into());
        admit(&request.to_srv_request()).map_err(|error| error.code())
    }

    #[test]
    fn the_token_opens_all_and_without_it_only_probes_are_open() {
        let host = ("host", "localhost:8003");
        let token = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(judge(DRIVER_TRAFFIC_PATH, &[host, token]), Ok(()));
        assert_eq!(judge("/health", &[host]), Ok(()));
        for path in [DRIVER_TRAFFIC_PATH, "/", "/driver/v2", "/health/x", "/docs/errors/internal"] {
            assert_eq!(judge(path, &[host]), Err(ErrorCode::Unauthorized), "{path}");
        }
        for wrong in ["", "Bearer", "Bearer 0123456789abcde", "Basic 0123456789abcdef"] {
            let refused = judge(DRIVER_TRAFFIC_PATH, &[host, ("authorization", wrong)]);
            assert_eq!(refused, Err(ErrorCode::Unauthorized), "{wrong:?}");
        }
    }

    #[test]
    fn another_host_is_misdirected_even_with_the_token() {
        let token = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(judge(DRIVER_TRAFFIC_PATH, &[("host", "driver:8003"), token]), Ok(()));
        for host in ["tandem.example", "driver.example", "localhost@tandem.example", ""] {
            let refused = judge(DRIVER_TRAFFIC_PATH, &[("host", host), token]);
            assert_eq!(refused, Err(ErrorCode::MisdirectedRequest), "{host:?}");
        }
    }
}
