//! Mounts endpoints by the API's table in `proto_contracts`.

use std::borrow::Cow;

use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, Route, guard,
    http, web,
};
use proto_contracts::openapi::Method;
use proto_contracts::routes::Resolved;
use proto_contracts::{Endpoint, ErrorCode};

use crate::problem::ApiError;

/// A method and its handler. `GET` is also `HEAD`.
pub type MethodRoute = (Method, Route);

/// `GET` and `HEAD`.
pub fn get<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    (Method::Get, web::to(handler))
}

/// `PUT`.
pub fn put<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    (Method::Put, web::to(handler))
}

/// `DELETE`.
pub fn delete<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    (Method::Delete, web::to(handler))
}

/// A handler of an operation of the API's table.
pub fn handler<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::to(handler)
}

/// Mounts the endpoints of a pool under their canonical and legacy paths.
pub fn mount(app: &mut web::ServiceConfig, endpoints: Vec<(Endpoint, Vec<MethodRoute>)>) {
    for (endpoint, methods) in endpoints {
        mount_endpoint(app, endpoint, methods);
    }
}

/// `OPTIONS` gets 204 with `Allow`, other methods without a handler 405.
///
/// The guards use the endpoint that the [edge](crate::edge) has resolved. The framework's own
/// matching, a regular expression per path, took a third of the time of a read from memory.
fn mount_endpoint(app: &mut web::ServiceConfig, endpoint: Endpoint, methods: Vec<MethodRoute>) {
    let is_endpoint = move |context: &guard::GuardContext<'_>| {
        context.req_data().get::<Resolved>().is_some_and(|resolved| resolved.endpoint == endpoint)
    };
    // The guards alone decide.
    let scope = || web::scope("").guard(guard::fn_guard(is_endpoint));
    let other_methods = other_methods_than(&methods);
    for (method, route) in methods {
        let has_method =
            move |context: &guard::GuardContext<'_>| serves(method, &context.head().method);
        app.service(scope().guard(guard::fn_guard(has_method)).default_service(route));
    }
    app.service(scope().default_service(other_methods));
}

/// Mounts the paths of a table that no gateway resolves.
pub fn mount_paths(app: &mut web::ServiceConfig, paths: Vec<(&str, Vec<MethodRoute>)>) {
    for (path, methods) in paths {
        mount_at(app, path, methods);
    }
}

/// Mounts a path outside all tables.
pub fn mount_at(app: &mut web::ServiceConfig, path: &str, methods: impl Into<Vec<MethodRoute>>) {
    let methods = methods.into();
    let resource = web::resource(path).default_service(other_methods_than(&methods));
    let resource = methods.into_iter().fold(resource, |resource, (method, route)| {
        resource.route(
            route.guard(guard::fn_guard(move |context| serves(method, &context.head().method))),
        )
    });
    app.service(resource);
}

/// Whether a handler's method serves a request's: `GET` also serves `HEAD`.
fn serves(method: Method, requested: &http::Method) -> bool {
    method.as_str() == requested.as_str()
        || (method == Method::Get && requested == http::Method::HEAD)
}

/// Responds to `OPTIONS` with the allowed methods, and to methods without a handler with 405.
fn other_methods_than(methods: &[MethodRoute]) -> Route {
    let allow = allow_header(methods);
    web::to(move |request: HttpRequest| {
        let response = if request.method() == http::Method::OPTIONS {
            let mut response = HttpResponse::NoContent();
            response.insert_header((ALLOW, allow.clone()));
            Ok(response.insert_header((CACHE_CONTROL, "no-store")).finish())
        } else {
            Err(method_not_allowed(request.method(), &allow))
        };
        async move { response }
    })
}

/// Whether the request used a deprecated legacy path, whose input is checked less strictly.
pub fn is_legacy(request: &HttpRequest) -> bool {
    request.extensions().get::<Resolved>().is_some_and(|resolved| resolved.is_legacy)
}

/// The decoded value of the template's `{…}` in the path; empty when the template has none.
pub fn parameter(request: &HttpRequest) -> Cow<'_, str> {
    let resolved = request.extensions().get::<Resolved>().copied();
    resolved.map_or("".into(), |resolved| resolved.parameter(request.path()))
}

/// Responds with 404 to requests without a route.
pub(crate) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(
        ErrorCode::NotFound,
        "No resource has this path; the API is described under /docs.",
    ))
}

fn method_not_allowed(method: &http::Method, allow: &HeaderValue) -> ApiError {
    let allowed = allow.to_str().unwrap_or_default();
    let detail = format!("{method} is not allowed here; allowed: {allowed}.");
    ApiError::new(ErrorCode::MethodNotAllowed, detail).with_header(ALLOW, allow.clone())
}

fn allow_header(methods: &[MethodRoute]) -> HeaderValue {
    let mut names = Vec::with_capacity(methods.len() + 2);
    for (method, _) in methods {
        names.push(method.as_str());
        if *method == Method::Get {
            names.push("HEAD");
        }
    }
    names.push("OPTIONS");
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
