//! Mounting the API's endpoints from the one table in `proto_contracts`.

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, guard, web};
use proto_contracts::{Endpoint, ErrorCode, routes};

use crate::problem::ApiError;

/// A handler and the method that reaches it.
pub struct MethodRoute {
    method: Method,
    route: Route,
}

/// `GET`, and `HEAD` with it.
pub fn get<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler);
    MethodRoute { method: Method::GET, route }
}

/// `POST`.
pub fn post<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute { method: Method::POST, route: web::post().to(handler) }
}

/// `PUT`.
pub fn put<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute { method: Method::PUT, route: web::put().to(handler) }
}

/// `PATCH`.
pub fn patch<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute { method: Method::PATCH, route: web::patch().to(handler) }
}

/// `DELETE`.
pub fn delete<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute { method: Method::DELETE, route: web::delete().to(handler) }
}

/// Mounts an endpoint under its canonical path and, where Phase 1 had one, under its alias.
///
/// `methods` is called for each of them. Every other method is answered with 405 and `Allow`.
pub fn mount<const N: usize>(app: &mut web::ServiceConfig, endpoint: Endpoint, methods: impl Fn() -> [MethodRoute; N]) {
    let templates = endpoint.templates();
    for template in [Some(templates.canonical), templates.phase1].into_iter().flatten() {
        mount_at(app, template, methods());
    }
}

/// Mounts one path that is not part of the API's table.
pub fn mount_at<const N: usize>(app: &mut web::ServiceConfig, path: &str, methods: [MethodRoute; N]) {
    let allow = allow_header(&methods);
    let resource = web::resource(path);
    let resource = methods.into_iter().fold(resource, |resource, method| resource.route(method.route));
    app.service(resource.default_service(web::to(move |request: HttpRequest| {
        let error = method_not_allowed(request.method(), &allow);
        async move { Err::<HttpResponse, _>(error) }
    })));
}

/// Whether the request came by a deprecated Phase 1 path, which is read more leniently.
pub fn is_phase1(request: &HttpRequest) -> bool {
    routes::resolve(request.match_info().as_str()).is_some_and(|resolved| resolved.phase1)
}

/// Answers what no route matched.
pub(crate) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "No resource has this path; the API is described under /docs."))
}

fn method_not_allowed(method: &Method, allow: &HeaderValue) -> ApiError {
    let allowed = allow.to_str().unwrap_or_default();
    let detail = format!("{method} is not allowed here; allowed: {allowed}.");
    ApiError::new(ErrorCode::MethodNotAllowed, detail).with_header(ALLOW, allow.clone())
}

fn allow_header(methods: &[MethodRoute]) -> HeaderValue {
    let mut names = Vec::with_capacity(methods.len() + 1);
    for MethodRoute { method, .. } in methods {
        names.push(method.as_str());
        if method == Method::GET {
            names.push("HEAD");
        }
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
