//! The agent: the stack's HTTP API, for the command line, the tests and user interfaces.
//!
//! It listens on loopback alone. Changes and logs require the token of the state folder. Every
//! request must name a loopback host, which prevents DNS rebinding.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Resource, ResponseError as _, Route, web,
};
use proto_contracts::agent::{Action, AgentHandlers, LogLines, LogsQuery, Scale};
use proto_contracts::openapi::Method;
use proto_contracts::{ErrorCode, agent};

use crate::process::last_lines;
use problem::ApiError;

mod guard;
mod problem;
mod supervised;

pub(crate) use supervised::Supervised;

/// The form of the body of `/scale`.
const SCALE_FORM: &str = "{\"pool\": …, \"instances\": …}: the pool 'stateless' or 'stateful' and \
                          its number of instances, and \"force\": true to allow 0";
/// The form of the query of `/logs`.
const LOGS_QUERY_FORM: &str = "`lines` must be a number; there are no other parameters";
/// Default and maximum number of log lines in a response.
const LINES: (usize, usize) = (100, 10_000);

/// Serves the agent on this listener until its server handle stops it.
pub(crate) fn serve(listener: TcpListener, supervised: Arc<Supervised>) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&supervised)))
            .wrap(from_fn(guard::require_canonical_path))
            .wrap(from_fn(guard::require_loopback_host))
            .configure(mount)
            .route("/docs/errors/{code}", web::get().to(problem::page))
            .default_service(web::to(not_found))
    });
    Ok(server.workers(1).shutdown_timeout(5).disable_signals().listen(listener)?.run())
}

fn mount(app: &mut web::ServiceConfig) {
    let handlers = AgentHandlers {
        status: web::to(status),
        scale: web::to(scale),
        act: web::to(act),
        logs: web::to(logs),
        shutdown: web::to(shutdown),
        openapi: web::to(openapi),
    };
    for (path, methods) in handlers.into_paths() {
        if agent::needs_token(path) {
            app.service(resource(path, methods).wrap(from_fn(guard::require_token)));
        } else {
            app.service(resource(path, methods));
        }
    }
}

/// A path with its methods; others get 405.
fn resource(path: &str, methods: Vec<(Method, Route)>) -> Resource {
    let names: Vec<_> = methods.iter().map(|(method, _)| method.as_str()).collect();
    let allowed = names.join(", ");
    let wrong_method = web::to(move || {
        let response = wrong_method(&allowed);
        async move { response }
    });
    let resource = web::resource(path).default_service(wrong_method);
    methods.into_iter().fold(resource, |resource, (method, route)| {
        let is_method =
            move |context: &GuardContext<'_>| context.head().method.as_str() == method.as_str();
        resource.route(route.guard(fn_guard(is_method)))
    })
}

async fn status(supervised: web::Data<Supervised>) -> HttpResponse {
    json_response(&supervised.status())
}

async fn scale(
    supervised: web::Data<Supervised>,
    body: web::Bytes,
) -> Result<HttpResponse, ApiError> {
    let Scale { pool, instances, force } = problem::parse(&body, SCALE_FORM)?;
    if instances == 0 && !force {
        let detail = format!(
            "with {pool}=0 every request of that pool fails; to do it anyway: `make scale \
             {pool}=0 force=1` (--force)"
        );
        return Err(ApiError::new(ErrorCode::WrongState, detail));
    }
    detached(&supervised, move |supervised| async move {
        supervised.stack()?.scale(pool, instances).await.map_err(ApiError::from)
    })
    .await
}

async fn act(
    supervised: web::Data<Supervised>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (name, action) = path.into_inner();
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action);
    let known = "the actions are kill, stop, start, pause, resume, roll and upgrade";
    let action = action.ok_or_else(|| ApiError::new(ErrorCode::NotFound, known))?;
    detached(&supervised, move |supervised| async move {
        let stack = supervised.stack()?;
        let done = match action {
            Action::Kill => stack.kill(&name).await,
            Action::Stop => stack.stop(&name).await,
            Action::Start => stack.start_component(&name).await,
            Action::Pause => stack.pause(&name),
            Action::Resume => stack.resume(&name),
            Action::Roll => stack.roll(&name).await,
            Action::Upgrade => stack.upgrade(&name).await,
        };
        done.map_err(ApiError::from)
    })
    .await
}

async fn logs(
    supervised: web::Data<Supervised>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query = web::Query::<LogsQuery>::from_query(request.query_string())
        .map_err(|_| ApiError::new(ErrorCode::InvalidQuery, LOGS_QUERY_FORM))?;
    let path = supervised.stack()?.log_path(&name)?;
    let count = query.lines.unwrap_or(LINES.0).min(LINES.1);
    let lines = web::block(move || (last_lines(&path, count), path)).await;
    let (lines, path) =
        lines.map_err(|_| ApiError::new(ErrorCode::Internal, "the log could not be read"))?;
    Ok(json_response(&LogLines { path: path.display().to_string(), lines }))
}

async fn shutdown(supervised: web::Data<Supervised>) -> HttpResponse {
    supervised.shutdown.cancel();
    HttpResponse::Accepted().json(supervised.status())
}

async fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "the agent's paths begin with /agent/v1")
}

async fn openapi() -> HttpResponse {
    json_response(&agent::document())
}

fn wrong_method(allowed: &str) -> HttpResponse {
    let detail = format!("this path allows {allowed}");
    let mut response = ApiError::new(ErrorCode::MethodNotAllowed, detail).error_response();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Runs a change to its end even if the client disconnects: a half-made one would leave an
/// unregistered instance. Returns the stack's state after it.
async fn detached<F>(
    supervised: &web::Data<Supervised>,
    change: impl FnOnce(Arc<Supervised>) -> F,
) -> Result<HttpResponse, ApiError>
where
    F: Future<Output = Result<(), ApiError>> + 'static,
{
    let change = actix_web::rt::spawn(change(Arc::clone(supervised)));
    change
        .await
        .map_err(|_| ApiError::new(ErrorCode::Internal, "the change was interrupted"))??;
    Ok(json_response(&supervised.status()))
}

fn json_response(body: &impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(body)
}
