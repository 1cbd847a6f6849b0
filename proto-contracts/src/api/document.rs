//! The API's OpenAPI document.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::table::operations;
use crate::error::ErrorCode;
use crate::openapi::header::{self, Header};
use crate::openapi::{self, About, Described};
use crate::session_id::SessionId;

const DESCRIPTION: &str = "\
Two services behind one gateway. Requests to the **stateless** one go round robin. A client's requests \
to the **stateful** one stay on one instance: the gateway routes by the affinity key with which a \
session's id begins.

- Every error is a problem document (RFC 9457). Programs match on its `code`; its `type` is a page \
with cause and cure.
- An operation with `Idempotency-Key` is safe to repeat.
- The response shows which instance served it, and why: `X-Served-By` and `X-Affinity`.
- All times are UTC with milliseconds.";

const TAGS: [(&str, &str); 8] = [
    ("Stateless", "Any instance serves them, round robin."),
    ("Catalogue", "Products, from a cache."),
    ("Accounts", "Users, logins and tokens."),
    ("Files", "Files of users, which only their owner sees."),
    ("Sessions", "State that stays on one instance, and that no crash loses."),
    ("Messages", "The conversation of a session."),
    ("Live", "Messages as they are posted."),
    ("Reference", "This document."),
];

/// What the gateway may return for every operation.
const ERRORS: [ErrorCode; 16] = [
    ErrorCode::BadRequest,
    ErrorCode::NotFound,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::UriTooLong,
    ErrorCode::ExpectationFailed,
    ErrorCode::RateLimited,
    ErrorCode::TooManyInFlight,
    ErrorCode::HeaderTooLarge,
    ErrorCode::Internal,
    ErrorCode::UpstreamFailed,
    ErrorCode::NoInstanceAvailable,
    ErrorCode::Overloaded,
    ErrorCode::TooManyConnections,
    ErrorCode::UpstreamTimeout,
    ErrorCode::VersionNotSupported,
];

const ERRORS_OF_BODIES: [ErrorCode; 3] =
    [ErrorCode::MalformedJson, ErrorCode::InvalidBody, ErrorCode::UnsupportedMediaType];

const HEADERS: [Header; 6] = [
    header::REQUEST_ID,
    header::SERVED_BY,
    header::AFFINITY,
    header::RATE_LIMIT,
    header::RATE_LIMIT_POLICY,
    header::SERVER_TIMING,
];

/// Generates the document.
pub fn document() -> Value {
    let about = About {
        title: "Tandem",
        version: env!("CARGO_PKG_VERSION"),
        description: DESCRIPTION,
        license: env!("CARGO_PKG_LICENSE"),
        token: "A JWT, signed with Ed25519. A session that is created with it belongs to its \
                subject.",
        tags: &TAGS,
        path_parameters: &[
            (
                "session_id",
                "The session's id, a secret.",
                SchemaGenerator::subschema_for::<SessionId>,
                "0badcafe-00112233445566778899aabbccddeeff",
            ),
            ("product_id", "The product's id.", product_id, "p001"),
            ("user_id", "The username.", username, "ada"),
            ("file_id", "The file's id.", file_id, "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d"),
        ],
        errors: &ERRORS,
        errors_of_bodies: &ERRORS_OF_BODIES,
        headers: &HEADERS,
    };
    let canonical = operations().map(|operation| operation.described());
    let legacy = operations().filter_map(|operation| {
        let path = operation.endpoint.templates().legacy?;
        Some((format!("legacy_{}", operation.id), path, operation.described()))
    });
    let legacy: Vec<_> = legacy.collect();
    let legacy = legacy.iter().map(|(id, path, canonical)| Described {
        path,
        id,
        method: canonical.method,
        details: canonical.details,
        successor: Some(canonical.path),
    });
    openapi::document(&about, canonical.chain(legacy))
}

fn username(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[a-z0-9._-]{3,64}$"})
}

fn product_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})
}

fn file_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "uuid"})
}
