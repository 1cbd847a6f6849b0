//! The agent: the stack's own small HTTP interface, for the command line, the tests and whoever shows buttons.
//!
//! It listens on loopback alone. Everything that changes something, and the logs, ask for the token of the state
//! folder; every request must name a loopback host, so that no web page can reach it by a name of its own.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use proto_contracts::ErrorCode;
use proto_contracts::agent::{Action, LogLines, Phase, Scale, StackStatus};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::process::last_lines;
use crate::stack::Stack;
use problem::Refusal;

pub(crate) mod client;
mod guard;
mod problem;

/// Lines of a log when the request names no number, and at most.
const LINES: (usize, usize) = (100, 10_000);

/// What the agent speaks for.
pub(crate) struct Supervised {
    /// Set when everything has been started.
    pub(crate) stack: OnceLock<Stack>,
    /// What is told before that.
    pub(crate) outline: StackStatus,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) token: SecretString,
    /// Asks the supervisor to end everything.
    pub(crate) shutdown: CancellationToken,
}

impl Supervised {
    fn status(&self) -> StackStatus {
        let components = self.stack.get().map(Stack::status).unwrap_or_default();
        StackStatus { phase: *self.phase.borrow(), components, ..self.outline.clone() }
    }

    /// The stack, once it can be changed.
    fn stack(&self) -> Result<&Stack, Refusal> {
        match (self.stack.get(), *self.phase.borrow()) {
            (Some(stack), Phase::Ready) => Ok(stack),
            (_, Phase::Stopping) => Err(Refusal::new(ErrorCode::WrongState, "the stack is being ended")),
            _ => Err(Refusal::new(ErrorCode::WrongState, "the stack is still starting")),
        }
    }
}

/// Serves the agent on this listener until its handle stops it.
pub(crate) fn serve(listener: TcpListener, supervised: Arc<Supervised>) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        let changing = web::scope("")
            .wrap(from_fn(guard::require_token))
            .service(web::resource("/scale").route(web::post().to(scale)).default_service(web::to(wrong_method)))
            .service(
                web::resource("/instances/{name}/{action}")
                    .route(web::post().to(act))
                    .default_service(web::to(wrong_method)),
            )
            .service(web::resource("/logs/{name}").route(web::get().to(logs)).default_service(web::to(wrong_method)))
            .service(web::resource("/shutdown").route(web::post().to(shutdown)).default_service(web::to(wrong_method)));
        App::new()
            .app_data(web::Data::from(Arc::clone(&supervised)))
            .wrap(from_fn(guard::require_canonical_path))
            .wrap(from_fn(guard::require_loopback_host))
            .service(
                web::scope("/agent/v1")
                    .service(
                        web::resource("/status").route(web::get().to(status)).default_service(web::to(wrong_method)),
                    )
                    .service(changing),
            )
            .default_service(web::to(nothing_here))
    });
    Ok(server.workers(1).shutdown_timeout(5).disable_signals().listen(listener)?.run())
}

async fn status(supervised: web::Data<Supervised>) -> HttpResponse {
    answer(&supervised.status())
}

async fn scale(supervised: web::Data<Supervised>, body: web::Bytes) -> Result<HttpResponse, Refusal> {
    let Scale { pool, instances, force } = problem::parse(&body)?;
    if instances == 0 && !force {
        let detail = format!(
            "with {pool}=0 every request of that pool fails: `make scale {pool}=0 force=1` (--force) does it all the same"
        );
        return Err(Refusal::new(ErrorCode::WrongState, detail));
    }
    detached(&supervised, move |supervised| async move {
        supervised.stack()?.scale(pool, instances).await.map_err(Refusal::from)
    })
    .await
}

async fn act(supervised: web::Data<Supervised>, path: web::Path<(String, String)>) -> Result<HttpResponse, Refusal> {
    let (name, action) = path.into_inner();
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action);
    let known = "the actions are kill, stop, start, pause, resume, roll and upgrade";
    let action = action.ok_or_else(|| Refusal::new(ErrorCode::NotFound, known))?;
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
        done.map_err(Refusal::from)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    lines: Option<usize>,
}

async fn logs(
    supervised: web::Data<Supervised>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let query = web::Query::<LogQuery>::from_query(request.query_string())
        .map_err(|error| Refusal::new(ErrorCode::InvalidQuery, error.to_string()))?;
    let path = supervised.stack()?.log_path(&name)?;
    let count = query.lines.unwrap_or(LINES.0).min(LINES.1);
    let lines = web::block(move || (last_lines(&path, count), path)).await;
    let (lines, path) = lines.map_err(|_| Refusal::new(ErrorCode::Internal, "the log could not be read"))?;
    Ok(answer(&LogLines { path: path.display().to_string(), lines }))
}

async fn shutdown(supervised: web::Data<Supervised>) -> HttpResponse {
    supervised.shutdown.cancel();
    HttpResponse::Accepted().json(supervised.status())
}

async fn nothing_here() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "the agent's paths begin with /agent/v1")
}

async fn wrong_method() -> Refusal {
    Refusal::new(ErrorCode::MethodNotAllowed, "this path takes another method")
}

/// Makes a change that goes on when its caller hangs up: one that is half made would leave an instance that runs but
/// is not registered. Answers with the stack's state after it.
async fn detached<F>(
    supervised: &web::Data<Supervised>,
    change: impl FnOnce(Arc<Supervised>) -> F,
) -> Result<HttpResponse, Refusal>
where
    F: Future<Output = Result<(), Refusal>> + 'static,
{
    let change = actix_web::rt::spawn(change(Arc::clone(supervised)));
    change.await.map_err(|_| Refusal::new(ErrorCode::Internal, "the change was interrupted"))??;
    Ok(answer(&supervised.status()))
}

fn answer(body: &impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(body)
}
