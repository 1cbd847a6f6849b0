//! Mounts endpoints by the API's table in `proto_contracts`.

use std::borrow::Cow;

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, Route, guard, web,
};
use proto_contracts::Endpoint;
use proto_contracts::openapi::Method;
use proto_contracts::routes::Resolved;

use self::endpoints::Endpoints;
pub use self::methods::MethodRoute;
use self::methods::{other_methods_than, serves};
use crate::problem::ApiError;

mod endpoints;
mod methods;

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

/// Mounts the endpoints of a pool under their canonical and legacy paths. `OPTIONS` gets 204 with
/// `Allow`, other methods without a handler 405.
pub fn mount(app: &mut web::ServiceConfig, endpoints: Vec<(Endpoint, Vec<MethodRoute>)>) {
    app.service(Endpoints::new(endpoints));
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
    Err(methods::not_found())
}
