//! All error codes, and the problem document that carries them (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RequestId;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $title:literal;)*) => {
        /// What went wrong, for programs to match on. Each code has one HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the definition.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code in the problem document and the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// A short summary, the same for each occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

error_codes! {
    // Faults of the request.
    /// The bytes are not an acceptable HTTP request.
    BadRequest = "bad_request", "The request is malformed";
    /// The body is not JSON.
    MalformedJson = "malformed_json", "The body is not valid JSON";
    /// A query parameter is unknown, of the wrong type or out of range.
    InvalidQuery = "invalid_query", "A query parameter is invalid";
    /// A path, body or header has a malformed session id.
    InvalidSessionId = "invalid_session_id", "The session id is malformed";
    /// The product id is malformed.
    InvalidProductId = "invalid_product_id", "The product id is malformed";
    /// The cursor was not issued by this API.
    InvalidCursor = "invalid_cursor", "The cursor is malformed";
    /// The idempotency key is not a UUID.
    InvalidIdempotencyKey = "invalid_idempotency_key", "The idempotency key is malformed";
    /// `If-Match` or `If-None-Match` is not a list of entity tags.
    InvalidEntityTag = "invalid_entity_tag", "An entity tag is malformed";
    /// `Last-Event-ID` is not the number of a message.
    InvalidLastEventId = "invalid_last_event_id", "The id of the last event is malformed";
    /// `X-Routing-Strategy` names no strategy.
    InvalidStrategy = "invalid_strategy", "There is no such strategy";
    /// The bearer token is missing or wrong.
    Unauthorized = "unauthorized", "A valid token is required";
    /// The bearer token is not a JWT of the configured issuer and audience, or has expired.
    InvalidToken = "invalid_token", "The bearer token is not valid";
    /// The ticket is for another session, or has expired.
    InvalidTicket = "invalid_ticket", "The ticket is not valid";
    /// A page from an origin that is not configured tried to open a WebSocket.
    OriginNotAllowed = "origin_not_allowed", "This origin may not connect";
    /// No resource has this path.
    NotFound = "not_found", "There is nothing at this path";
    /// The session never existed, has expired, or was deleted.
    SessionNotFound = "session_not_found", "There is no such session";
    /// There is no such product.
    ProductNotFound = "product_not_found", "There is no such product";
    /// The gateway has no pool of this name.
    PoolNotFound = "pool_not_found", "There is no such pool";
    /// The pool, or the stack, has no instance of this name.
    InstanceNotFound = "instance_not_found", "There is no such instance";
    /// The resource does not support this method.
    MethodNotAllowed = "method_not_allowed", "The method is not allowed here";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", "The request took too long to arrive";
    /// Concurrent writes kept changing the session; this change was not made.
    ConcurrentUpdate = "concurrent_update", "The session was changed at the same time";
    /// The session has reached its maximum number of messages.
    SessionFull = "session_full", "The session holds too many messages";
    /// The pool already has an instance of this name or address.
    InstanceExists = "instance_exists", "The instance already exists";
    /// No other instance of the pool is available; its requests would fail without this one.
    LastInstance = "last_instance", "No other instance of the pool is available";
    /// The component is already running, or not running.
    WrongState = "wrong_state", "The component's state does not allow this";
    /// A hot restart of the gateway is in progress.
    UpgradeInProgress = "upgrade_in_progress", "The gateway is being upgraded";
    /// The session changed since the version that the client names.
    PreconditionFailed = "precondition_failed", "A precondition failed";
    /// The body exceeds the limit for requests.
    BodyTooLarge = "body_too_large", "The body is too large";
    /// The message exceeds its limit.
    MessageTooLarge = "message_too_large", "The message is too large";
    /// The client data exceeds its limit.
    ClientDataTooLarge = "client_data_too_large", "The client data is too large";
    /// The request target exceeds its limit.
    UriTooLong = "uri_too_long", "The target is too long";
    /// The `Expect` header has an unsupported value.
    ExpectationFailed = "expectation_failed", "The expectation cannot be met";
    /// The HTTP version is not supported.
    VersionNotSupported = "version_not_supported", "This version of HTTP is not supported";
    /// The `Content-Type` is not JSON.
    UnsupportedMediaType = "unsupported_media_type", "The body must be application/json";
    /// The `Host` header names a host that this listener does not serve.
    MisdirectedRequest = "misdirected_request", "This host is not served here";
    /// The JSON is valid, but a field is unknown, missing, of the wrong type or out of range.
    InvalidBody = "invalid_body", "The body does not have the expected form";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused",
        "The idempotency key was used for another request";
    /// The number of operands does not fit the operation.
    InvalidOperands = "invalid_operands", "The operands do not fit the operation";
    /// An operand divides by zero.
    DivisionByZero = "division_by_zero", "Division by zero";
    /// The result is infinite or not a number.
    ResultNotFinite = "result_not_finite", "The result is not a finite number";
    /// The instance's address cannot be reached.
    InvalidInstance = "invalid_instance", "The instance cannot be added";
    /// The process at the address is not an instance for this pool.
    WrongInstance = "wrong_instance", "The process at this address is not an instance of this pool";
    /// The reloaded configuration is invalid.
    InvalidConfig = "invalid_config", "The configuration is invalid";
    /// The resource is a WebSocket, but the request is not a WebSocket handshake.
    UpgradeRequired = "upgrade_required", "The request must open a WebSocket";
    /// The client sent too many requests.
    RateLimited = "rate_limited", "Too many requests";
    /// The client has reached its limit of requests in flight.
    TooManyInFlight = "too_many_in_flight", "Too many requests at once";
    /// The client has reached its limit of live connections.
    TooManyClientStreams = "too_many_client_streams", "Too many live connections of one client";
    /// The request header exceeds its limit.
    HeaderTooLarge = "header_too_large", "The request header is too large";

    // Faults of the system.
    /// An internal error; the log has its cause under the request id.
    Internal = "internal", "Internal error";
    /// A part of the local stack could not be started, stopped or registered.
    ComponentFailed = "component_failed", "A component failed";
    /// An instance closed the connection or sent an invalid response.
    UpstreamFailed = "upstream_failed", "The instance failed to respond";
    /// No instance of the pool is available.
    NoInstanceAvailable = "no_instance_available", "No instance is available";
    /// All instances are at capacity; the request was not forwarded.
    Overloaded = "overloaded", "The service is overloaded";
    /// The gateway has reached its connection limit, for this address or in total.
    TooManyConnections = "too_many_connections", "Too many connections";
    /// The instance has reached its limit of live connections.
    TooManyStreams = "too_many_streams", "Too many live connections";
    /// The session store does not respond; the outcome of a write is unknown.
    SessionStoreUnavailable = "session_store_unavailable", "The session store is unavailable";
    /// The database does not respond.
    DatabaseUnavailable = "database_unavailable", "The database is unavailable";
    /// An instance did not respond in time.
    UpstreamTimeout = "upstream_timeout", "The instance took too long to respond";
    /// The change cannot be written to the state file, so nothing changed.
    StateNotSaved = "state_not_saved", "The change cannot be saved";
}

impl ErrorCode {
    /// The code's HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::MalformedJson
            | Self::InvalidQuery
            | Self::InvalidSessionId
            | Self::InvalidProductId
            | Self::InvalidCursor
            | Self::InvalidIdempotencyKey
            | Self::InvalidEntityTag
            | Self::InvalidLastEventId
            | Self::InvalidStrategy => 400,
            Self::Unauthorized | Self::InvalidToken | Self::InvalidTicket => 401,
            Self::OriginNotAllowed => 403,
            Self::NotFound
            | Self::SessionNotFound
            | Self::ProductNotFound
            | Self::PoolNotFound
            | Self::InstanceNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::ConcurrentUpdate
            | Self::SessionFull
            | Self::InstanceExists
            | Self::LastInstance
            | Self::WrongState
            | Self::UpgradeInProgress => 409,
            Self::PreconditionFailed => 412,
            Self::BodyTooLarge | Self::MessageTooLarge | Self::ClientDataTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::ExpectationFailed => 417,
            Self::MisdirectedRequest => 421,
            Self::InvalidBody
            | Self::IdempotencyKeyReused
            | Self::InvalidOperands
            | Self::DivisionByZero
            | Self::ResultNotFinite
            | Self::InvalidInstance
            | Self::WrongInstance
            | Self::InvalidConfig => 422,
            Self::UpgradeRequired => 426,
            Self::RateLimited | Self::TooManyInFlight | Self::TooManyClientStreams => 429,
            Self::HeaderTooLarge => 431,
            Self::Internal | Self::ComponentFailed => 500,
            Self::UpstreamFailed => 502,
            Self::NoInstanceAvailable
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::TooManyStreams
            | Self::SessionStoreUnavailable
            | Self::DatabaseUnavailable => 503,
            Self::UpstreamTimeout => 504,
            Self::VersionNotSupported => 505,
            Self::StateNotSaved => 507,
        }
    }

    /// Seconds until a retry may succeed (`Retry-After`), for the codes that have it.
    pub const fn retry_after_s(self) -> Option<u32> {
        match self.status() {
            429 | 503 => Some(1),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An `application/problem+json` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:tandem:error:<code>`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// A short summary of the code, the same for each occurrence.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// Cause and cure of this occurrence. Never internal text.
    pub detail: Cow<'static, str>,
    /// For programs to match on.
    pub code: ErrorCode,
    /// The request's id in the logs; absent when no request could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl Problem {
    /// `detail` must not contain internal text.
    pub fn new(
        code: ErrorCode,
        detail: impl Into<Cow<'static, str>>,
        request_id: Option<RequestId>,
    ) -> Self {
        Self {
            kind: format!("urn:tandem:error:{code}").into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let mut seen = std::collections::HashSet::new();
        for &code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let json = serde_json::to_string(&code).expect("serializes");
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).expect("reads back"), code);
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let problem = Problem::new(ErrorCode::DivisionByZero, "operand 2 is 0", None);
        let json = serde_json::to_value(&problem).expect("serializes");
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:tandem:error:division_by_zero",
                "title": "Division by zero",
                "status": 422,
                "detail": "operand 2 is 0",
                "code": "division_by_zero",
            })
        );
    }
}
