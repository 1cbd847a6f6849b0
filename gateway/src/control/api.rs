//! The control API as a table: what mounts an endpoint also documents it, so that neither can be without the other.

use actix_web::{FromRequest, Handler, Responder, web};
use proto_contracts::ErrorCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use service_kit::routes::{self, MethodRoute, mount_at};

/// A path and what can be done there.
pub(super) struct Endpoint {
    /// Its template; `{…}` is one segment.
    pub(super) path: &'static str,
    /// One of each method.
    pub(super) operations: Vec<Operation>,
}

/// One method of one path.
pub(super) struct Operation {
    /// As it stands in the document.
    pub(super) method: &'static str,
    /// The name by which generated clients call it.
    pub(super) id: &'static str,
    /// What it does, in a sentence.
    pub(super) summary: &'static str,
    /// What its query may hold.
    pub(super) query: Option<SchemaOf>,
    /// What its body must be.
    pub(super) body: Option<SchemaOf>,
    /// What it answers when all is well.
    pub(super) answer: Answer,
    /// Another status of a good answer, with the same body, and what it means.
    pub(super) also: Option<(u16, &'static str)>,
    /// With which codes it may refuse, beside those of every operation.
    pub(super) refusals: &'static [ErrorCode],
    route: MethodRoute,
}

/// Makes the schema of one type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A good answer.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// What it means.
    pub(super) description: &'static str,
    /// Its media type and its body, where it has one.
    pub(super) content: Option<(&'static str, Option<SchemaOf>)>,
}

impl Endpoint {
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
        /// It reads.
        get
    );
    method!(
        /// It replaces.
        put
    );
    method!(
        /// It changes a part.
        patch
    );
    method!(
        /// It adds, or does something.
        post
    );
    method!(
        /// It removes.
        delete
    );

    fn new(method: &'static str, id: &'static str, summary: &'static str, route: MethodRoute) -> Self {
        let answer = Answer { status: 204, description: "Done.", content: None };
        Self { method, id, summary, query: None, body: None, answer, also: None, refusals: &[], route }
    }

    /// What its query may hold.
    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// What its body must be.
    pub(super) fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// It answers with this as JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answers_as::<T>("application/json", status, description)
    }

    /// It may answer so with another status.
    pub(super) fn also(self, status: u16, description: &'static str) -> Self {
        Self { also: Some((status, description)), ..self }
    }

    /// It answers with this in another form.
    pub(super) fn answers_as<T: JsonSchema>(
        self,
        media_type: &'static str,
        status: u16,
        description: &'static str,
    ) -> Self {
        let content = Some((media_type, Some(SchemaGenerator::subschema_for::<T> as SchemaOf)));
        Self { answer: Answer { status, description, content }, ..self }
    }

    /// It answers with JSON that has a form of its own.
    pub(super) fn answers_any(self, description: &'static str) -> Self {
        Self { answer: Answer { status: 200, description, content: Some(("application/json", None)) }, ..self }
    }

    /// With which codes it may refuse, beside those of every operation.
    pub(super) fn refuses(self, refusals: &'static [ErrorCode]) -> Self {
        Self { refusals, ..self }
    }

    /// Whether it changes something, and so needs the token.
    pub(super) fn changes(&self) -> bool {
        self.method != "get"
    }
}
