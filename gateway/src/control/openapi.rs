//! `GET /control/v1/openapi.json`: the control API as OpenAPI 3.1, made from the table that mounts it and from the types
//! that it reads and writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::{ErrorCode, Problem};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::api::{Endpoint, Operation, SchemaOf};
use crate::control::state::State;

/// The document, as it was made at the start.
pub(super) async fn document(state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    response::no_store(StatusCode::OK, &state.openapi)
}

/// Makes the document of these endpoints.
pub(super) fn describe(endpoints: &[Endpoint]) -> Value {
    let mut schemas = Schemas::new();
    let paths: Map<_, _> =
        endpoints.iter().map(|endpoint| (endpoint.path.to_owned(), path(endpoint, &mut schemas))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tandem's control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What operators ask and change. Reading is free to whoever reaches the listener, which is never \
                            published; a change needs the token. Errors are RFC 9457 documents.",
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The gateway's CONTROL_TOKEN."},
            },
        },
    })
}

/// The schemas of what is read and of what is written: a field that may be left out of a request stands in every answer.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        // What JSON Schema's own form lacks to be OpenAPI's is the place of the definitions.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let written = settings.clone().for_serialize().into_generator();
        Self { read: settings.for_deserialize().into_generator(), written }
    }

    fn read(&mut self, of: SchemaOf) -> Value {
        of(&mut self.read).to_value()
    }

    fn written(&mut self, of: SchemaOf) -> Value {
        of(&mut self.written).to_value()
    }

    fn definitions(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.written.take_definitions(true));
        all
    }
}

fn path(endpoint: &Endpoint, schemas: &mut Schemas) -> Value {
    let operations = endpoint.operations.iter();
    let described =
        operations.map(|operation| (operation.method.to_owned(), describe_operation(endpoint, operation, schemas)));
    Value::Object(described.collect())
}

fn describe_operation(endpoint: &Endpoint, operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(endpoint, operation, schemas),
        "responses": responses(operation, schemas),
        "security": if operation.changes() { json!([{"token": []}]) } else { json!([]) },
    });
    if let Some(body) = operation.body {
        let schema = schemas.read(body);
        described["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    described
}

fn parameters(endpoint: &Endpoint, operation: &Operation, schemas: &mut Schemas) -> Vec<Value> {
    let segments = endpoint.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = segments.map(|name| {
        let (description, schema) = match name {
            "pool" => ("Which pool.", schemas.read(SchemaGenerator::subschema_for::<proto_contracts::PoolName>)),
            _ => ("The instance's name, or its address while it has told none.", json!({"type": "string"})),
        };
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
    });
    let mut all: Vec<_> = in_path.collect();
    let Some(query) = operation.query else { return all };
    // A query is no body, so its type is taken apart and not among the definitions.
    let reference = schemas.read(query);
    let name = reference["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
    let definition = schemas.read.definitions_mut().remove(name).unwrap_or_default();
    let required = definition["required"].as_array().cloned().unwrap_or_default();
    for (name, schema) in definition["properties"].as_object().into_iter().flatten() {
        all.push(json!({
            "name": name, "in": "query", "required": required.contains(&json!(name)),
            "description": schema["description"], "schema": without_null(schema),
        }));
    }
    all
}

/// The schema of a parameter that may be absent, but cannot be null as a field can.
fn without_null(schema: &Value) -> Value {
    let choice = schema["anyOf"].as_array().and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
    let mut schema = choice.unwrap_or(schema).clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("description");
    }
    schema
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Map<String, Value> {
    let mut all = Map::new();
    let good = &operation.answer;
    let mut answer = json!({"description": good.description});
    if let Some((media_type, body)) = good.content {
        let schema = body.map_or_else(|| json!({"type": "object"}), |body| schemas.written(body));
        answer["content"] = json!({media_type: {"schema": schema}});
    }
    if let Some((status, description)) = operation.also {
        let mut answer = answer.clone();
        answer["description"] = description.into();
        all.insert(status.to_string(), answer);
    }
    all.insert(good.status.to_string(), answer);

    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    let of_all = [ErrorCode::MisdirectedRequest, ErrorCode::Internal];
    let of_changes: &[_] = if operation.changes() { &[ErrorCode::Unauthorized] } else { &[] };
    let of_queries: &[_] = if operation.query.is_some() { &[ErrorCode::InvalidQuery] } else { &[] };
    let of_bodies: &[_] = match operation.body {
        Some(_) => &[
            ErrorCode::MalformedJson,
            ErrorCode::InvalidBody,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::BodyTooLarge,
            ErrorCode::RequestTimeout,
        ],
        None => &[],
    };
    for &code in [&of_all, of_changes, of_queries, of_bodies, operation.refusals].into_iter().flatten() {
        by_status.entry(code.status()).or_default().push(code);
    }
    let problem = schemas.written(SchemaGenerator::subschema_for::<Problem>);
    for (status, codes) in by_status {
        let description = codes.iter().fold(String::new(), |mut text, code| {
            let separator = if text.is_empty() { "" } else { " " };
            let _infallible = write!(text, "{separator}`{code}`: {}.", code.title());
            text
        });
        let content = json!({"application/problem+json": {"schema": problem}});
        all.insert(status.to_string(), json!({"description": description, "content": content}));
    }
    all
}
