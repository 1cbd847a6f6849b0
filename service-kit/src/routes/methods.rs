//! Which of an endpoint's handlers serves a method, and the responses where none does.

use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Route, http, web};
use proto_contracts::ErrorCode;
use proto_contracts::openapi::Method;

use crate::problem::ApiError;

/// A method and its handler. `GET` is also `HEAD`.
pub type MethodRoute = (Method, Route);

/// Whether a handler's method serves a request's: `GET` also serves `HEAD`.
pub(super) fn serves(method: Method, requested: &http::Method) -> bool {
    method.as_str() == requested.as_str()
        || (method == Method::Get && requested == http::Method::HEAD)
}

/// Responds to `OPTIONS` with the allowed methods, and to methods without a handler with 405.
pub(super) fn other_methods_than(methods: &[MethodRoute]) -> Route {
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

/// 404: no handler serves the path.
pub(super) fn not_found() -> ApiError {
    let detail = "No resource has this path; the API is described under /docs.";
    ApiError::new(ErrorCode::NotFound, detail)
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
