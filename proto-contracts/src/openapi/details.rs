//! What an operation takes, returns and rejects.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;

use crate::accounts::Role;
use crate::error::ErrorCode;
use crate::openapi::header::Header;
use crate::openapi::schemas::SchemaOf;

/// The largest body of a request, in bytes, unless its operation has another limit.
pub const DEFAULT_BODY_BYTES: usize = 1024 * 1024;

/// The method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// A read.
    Get,
    /// An addition or an action.
    Post,
    /// A replacement.
    Put,
    /// A partial change.
    Patch,
    /// A removal.
    Delete,
}

impl Method {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it changes nothing.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Everyone.
    Everyone {
        /// Whether a bearer token has a meaning.
        with_token: bool,
    },
    /// Whoever knows the session's id; its owner only if it has one.
    SessionHolder,
    /// A user of this role or a higher one.
    User(Role),
    /// The issuer of tokens, by an event that it has signed.
    Issuer,
    /// Whoever has the process's token.
    TokenHolder,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Its media type.
    pub media_type: &'static str,
    /// The schema.
    pub schema: SchemaOf,
    /// An example, as JSON.
    pub example: &'static str,
    /// Without a body, `{}` is assumed if this is false.
    pub is_required: bool,
    /// The most bytes.
    pub max_bytes: usize,
    check: Check,
}

impl Body {
    /// Whether the example has the body's type.
    ///
    /// # Errors
    /// The parser's.
    pub fn example_fits(&self) -> Result<(), serde_json::Error> {
        (self.check)(self.example)
    }
}

/// The body of a response.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Its media type.
    pub media_type: &'static str,
    /// The schema; `None` for any JSON object.
    pub schema: Option<SchemaOf>,
    /// An example, as JSON.
    pub example: Option<&'static str>,
    check: Check,
}

impl Content {
    /// Whether the example has the response's type.
    ///
    /// # Errors
    /// The parser's.
    pub fn example_fits(&self) -> Result<(), serde_json::Error> {
        self.example.map_or(Ok(()), self.check)
    }
}

/// A response of success.
#[derive(Clone, Copy, Debug)]
pub struct Success {
    /// Its status.
    pub status: u16,
    /// What it means.
    pub description: &'static str,
    /// Its body, if it has one.
    pub content: Option<Content>,
}

/// Parses an example as its type.
type Check = fn(&str) -> Result<(), serde_json::Error>;

/// An operation without its path and method.
#[derive(Clone, Copy, Debug)]
pub struct Details {
    /// The group in the reference.
    pub tag: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What a caller should know, in a few sentences.
    pub description: &'static str,
    /// Who may call it.
    pub caller: Caller,
    /// The schema of its query.
    pub query: Option<SchemaOf>,
    /// The header fields that it takes, besides those of every operation.
    pub takes: &'static [Header],
    /// Its body.
    pub body: Option<Body>,
    /// Whether its body is a file, plain or as the one part of a form.
    pub is_upload: bool,
    /// The response of success.
    pub success: Success,
    /// A second response of success.
    pub also: Option<Success>,
    /// The header fields of its responses, in groups, besides those of every operation.
    pub headers: [&'static [Header]; 2],
    /// A parameter of other operations' paths and bodies, and the JSON Pointer to its value in the
    /// response.
    pub identifies: Option<(&'static str, &'static str)>,
    /// Its error codes, in groups, besides those of every operation.
    pub errors: [&'static [ErrorCode]; 3],
    /// Whether it takes an `Idempotency-Key`.
    pub is_keyed: bool,
    /// Whether `If-Match` and `If-None-Match` guard it.
    pub is_guarded: bool,
    /// Whether it has an `ETag`, and returns 304 for it.
    pub is_conditional: bool,
    /// Whether a shared cache may store its response.
    pub is_cacheable: bool,
    /// Whether its response is endless.
    pub is_stream: bool,
    /// Whether a gateway passes it on to the deployment's other gateways.
    pub is_passed_on: bool,
}

impl Details {
    /// An operation for everyone, without a query, a body or a response.
    pub const fn new(tag: &'static str, summary: &'static str) -> Self {
        Self {
            tag,
            summary,
            description: "",
            caller: Caller::Everyone { with_token: false },
            query: None,
            takes: &[],
            body: None,
            is_upload: false,
            success: Success { status: 204, description: "Done.", content: None },
            also: None,
            headers: [&[]; 2],
            identifies: None,
            errors: [&[]; 3],
            is_keyed: false,
            is_guarded: false,
            is_conditional: false,
            is_cacheable: false,
            is_stream: false,
            is_passed_on: false,
        }
    }

    /// Sets its description.
    pub const fn described_as(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Sets who may call it.
    pub const fn called_by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// Sets the schema of its query.
    pub const fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Sets the header fields that it takes.
    pub const fn takes(self, takes: &'static [Header]) -> Self {
        Self { takes, ..self }
    }

    /// Sets its body.
    pub const fn body<T: JsonSchema + DeserializeOwned>(self, example: &'static str) -> Self {
        self.with_body::<T>(example, true)
    }

    /// Sets its body, which may be absent.
    pub const fn optional_body<T: JsonSchema + DeserializeOwned>(
        self,
        example: &'static str,
    ) -> Self {
        self.with_body::<T>(example, false)
    }

    const fn with_body<T: JsonSchema + DeserializeOwned>(
        self,
        example: &'static str,
        is_required: bool,
    ) -> Self {
        let schema: SchemaOf = SchemaGenerator::subschema_for::<T>;
        let max_bytes = DEFAULT_BODY_BYTES;
        let (media_type, check) = ("application/json", parses_as::<T> as Check);
        let body = Body { media_type, schema, example, is_required, max_bytes, check };
        Self { body: Some(body), ..self }
    }

    /// Sets its body, which is a text of this media type. The example is a JSON string.
    pub const fn text_body(
        self,
        media_type: &'static str,
        max_bytes: usize,
        example: &'static str,
    ) -> Self {
        let schema: SchemaOf = SchemaGenerator::subschema_for::<String>;
        let (is_required, check) = (true, parses_as::<String> as Check);
        let body = Body { media_type, schema, example, is_required, max_bytes, check };
        Self { body: Some(body), ..self }
    }

    /// Its body is a file, plain or as the one part of a form.
    pub const fn upload(self) -> Self {
        Self { is_upload: true, ..self }
    }

    /// It returns this as JSON.
    pub const fn returns<T: JsonSchema + DeserializeOwned>(
        self,
        status: u16,
        description: &'static str,
        example: &'static str,
    ) -> Self {
        self.succeeds_with(status, description, Some(json_of::<T>(example)))
    }

    /// It returns JSON without a schema.
    pub const fn returns_any(self, description: &'static str) -> Self {
        let (media_type, check) = ("application/json", unchecked as Check);
        let content = Content { media_type, schema: None, example: None, check };
        self.succeeds_with(200, description, Some(content))
    }

    /// It returns the bytes of a file.
    pub const fn returns_file(self, description: &'static str) -> Self {
        let content =
            Content { media_type: "*/*", schema: Some(binary), example: None, check: unchecked };
        self.succeeds_with(200, description, Some(content))
    }

    /// It returns a stream whose events have JSON objects as data.
    pub const fn streams_any(self, description: &'static str) -> Self {
        let (media_type, check) = ("text/event-stream", unchecked as Check);
        let content = Content { media_type, schema: None, example: None, check };
        Self { is_stream: true, ..self.succeeds_with(200, description, Some(content)) }
    }

    /// It returns a stream whose events have this as data.
    pub const fn streams<T: JsonSchema>(self, description: &'static str) -> Self {
        let content = Content {
            media_type: "text/event-stream",
            schema: Some(SchemaGenerator::subschema_for::<T>),
            example: None,
            check: unchecked,
        };
        Self { is_stream: true, ..self.succeeds_with(200, description, Some(content)) }
    }

    /// It returns a status without a body.
    pub const fn returns_nothing(self, status: u16, description: &'static str) -> Self {
        self.succeeds_with(status, description, None)
    }

    const fn succeeds_with(
        self,
        status: u16,
        description: &'static str,
        content: Option<Content>,
    ) -> Self {
        Self { success: Success { status, description, content }, ..self }
    }

    /// It may return the same with another status.
    pub const fn also(self, status: u16, description: &'static str) -> Self {
        let content = self.success.content;
        Self { also: Some(Success { status, description, content }), ..self }
    }

    /// It may return this with another status.
    pub const fn or_returns<T: JsonSchema + DeserializeOwned>(
        self,
        status: u16,
        description: &'static str,
        example: &'static str,
    ) -> Self {
        let content = Some(json_of::<T>(example));
        Self { also: Some(Success { status, description, content }), ..self }
    }

    /// A gateway passes it on to the deployment's other gateways.
    pub const fn passed_on(self) -> Self {
        Self { is_passed_on: true, ..self }
    }

    /// Adds header fields of its responses.
    pub const fn with_headers(self, headers: &'static [Header]) -> Self {
        let [first, _] = self.headers;
        let headers = if first.is_empty() { [headers, &[]] } else { [first, headers] };
        Self { headers, ..self }
    }

    /// Sets a parameter of other operations' paths and bodies, and the JSON Pointer to its value in
    /// the response.
    pub const fn identifies(self, parameter: &'static str, pointer: &'static str) -> Self {
        Self { identifies: Some((parameter, pointer)), ..self }
    }

    /// Adds error codes.
    pub const fn fails_with(self, errors: &'static [ErrorCode]) -> Self {
        let errors = match self.errors {
            [[], ..] => [errors, &[], &[]],
            [first, [], _] => [first, errors, &[]],
            [first, second, _] => [first, second, errors],
        };
        Self { errors, ..self }
    }

    /// It takes an `Idempotency-Key`.
    pub const fn keyed(self) -> Self {
        Self { is_keyed: true, ..self }
    }

    /// `If-Match` and `If-None-Match` guard it: 412 when they don't hold.
    pub const fn guarded(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// It has an `ETag`, and returns 304 when `If-None-Match` lists it.
    pub const fn conditional(self) -> Self {
        Self { is_conditional: true, is_guarded: true, ..self }
    }

    /// It is conditional, and a shared cache may store its response.
    pub const fn cached(self) -> Self {
        Self { is_cacheable: true, ..self.conditional() }
    }

    /// Its response is endless.
    pub const fn endless(self) -> Self {
        Self { is_stream: true, ..self }
    }
}

/// JSON of this type.
const fn json_of<T: JsonSchema + DeserializeOwned>(example: &'static str) -> Content {
    Content {
        media_type: "application/json",
        schema: Some(SchemaGenerator::subschema_for::<T>),
        example: Some(example),
        check: parses_as::<T>,
    }
}

fn parses_as<T: DeserializeOwned>(json: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<T>(json).map(drop)
}

/// Bytes of any kind.
pub(super) fn binary(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "binary"})
}

fn unchecked(_: &str) -> Result<(), serde_json::Error> {
    Ok(())
}
