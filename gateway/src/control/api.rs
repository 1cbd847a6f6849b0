//! The control API as a table: the same entry mounts an endpoint and documents it.

use actix_web::{FromRequest, Handler, Responder, web};
use proto_contracts::ErrorCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use service_kit::routes::{self, MethodRoute, mount_at};

/// A path and its methods.
pub(super) struct ControlEndpoint {
    /// Its template; `{…}` is one segment.
    pub(super) path: &'static str,
    /// One of each method.
    pub(super) operations: Vec<Operation>,
}

/// One method of one path.
pub(super) struct Operation {
    /// In lower case, as OpenAPI has it.
    pub(super) method: &'static str,
    /// The name by which generated clients call it.
    pub(super) id: &'static str,
    /// What it does, in a sentence.
    pub(super) summary: &'static str,
    /// The schema of its query.
    pub(super) query: Option<SchemaOf>,
    /// The schema of its body.
    pub(super) body: Option<SchemaOf>,
    /// The response of success.
    pub(super) success: Success,
    /// A second status of success with the same body, and its meaning.
    pub(super) also: Option<(u16, &'static str)>,
    /// Its error codes, besides those of every operation.
    pub(super) errors: &'static [ErrorCode],
    route: MethodRoute,
}

/// Makes the schema of one type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A response of success.
pub(super) struct Success {
    /// Its status.
    pub(super) status: u16,
    /// What it means.
    pub(super) description: &'static str,
    /// The media type and the schema of its body, if it has one.
    pub(super) content: Option<(&'static str, Option<SchemaOf>)>,
}

impl ControlEndpoint {
    /// A path and its operations.
    pub(super) fn new(path: &'static str, operations: impl Into<Vec<Operation>>) -> Self {
        Self { path, operations: operations.into() }
    }

    /// Mounts all of them.
    pub(super) fn mount(self, app: &mut web::ServiceConfig) {
        let routes: Vec<_> = self.operations.into_iter().map(|operation| operation.route).collect();
        mount_at(app, self.path, routes);
    }
}

macro_rules! method {
    ($(#[$doc:meta])* $method:ident) => {
        $(#[$doc])*
        pub(super) fn $method<F, Args>(id: &'static str, summary: &'static str, handler: F) -> Self
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            Self::new(stringify!($method), id, summary, routes::$method(handler))
        }
    };
}

impl Operation {
    method!(
        /// A read.
        get
    );
    method!(
        /// A replacement.
        put
    );
    method!(
        /// A partial change.
        patch
    );
    method!(
        /// An addition or an action.
        post
    );
    method!(
        /// A removal.
        delete
    );

    fn new(
        method: &'static str,
        id: &'static str,
        summary: &'static str,
        route: MethodRoute,
    ) -> Self {
        let success = Success { status: 204, description: "Done.", content: None };
        Self {
            method,
            id,
            summary,
            query: None,
            body: None,
            success,
            also: None,
            errors: &[],
            route,
        }
    }

    /// Sets the schema of its query.
    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Sets the schema of its body.
    pub(super) fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// It returns this as JSON.
    pub(super) fn returns<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.returns_as::<T>("application/json", status, description)
    }

    /// It may return the same with another status.
    pub(super) fn also(self, status: u16, description: &'static str) -> Self {
        Self { also: Some((status, description)), ..self }
    }

    /// It returns this with another media type.
    pub(super) fn returns_as<T: JsonSchema>(
        self,
        media_type: &'static str,
        status: u16,
        description: &'static str,
    ) -> Self {
        let content = Some((media_type, Some(SchemaGenerator::subschema_for::<T> as SchemaOf)));
        Self { success: Success { status, description, content }, ..self }
    }

    /// It returns JSON without a schema.
    pub(super) fn returns_any(self, description: &'static str) -> Self {
        Self {
            success: Success {
                status: 200,
                description,
                content: Some(("application/json", None)),
            },
            ..self
        }
    }

    /// Its error codes, besides those of every operation.
    pub(super) fn fails_with(self, errors: &'static [ErrorCode]) -> Self {
        Self { errors, ..self }
    }

    /// Whether it changes something, and so needs the token.
    pub(super) fn changes(&self) -> bool {
        self.method != "get"
    }
}
