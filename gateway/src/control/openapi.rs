//! `GET /control/v1/openapi.json`: the control API as OpenAPI 3.1, generated from the table of
//! endpoints and from the types of requests and responses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::{ErrorCode, PoolName, Problem};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::api::{ControlEndpoint, Operation, SchemaOf};
use crate::control::state::State;

/// The document, generated at the start.
pub(super) async fn document(state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    response::no_store(StatusCode::OK, &state.openapi)
}

/// Generates the document of these endpoints.
pub(super) fn describe(endpoints: &[ControlEndpoint]) -> Value {
    let mut schemas = Schemas::new();
    let paths: Map<_, _> = endpoints
        .iter()
        .map(|endpoint| (endpoint.path.to_owned(), path(endpoint, &mut schemas)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tandem's control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Operators inspect and change the gateway here. Reads need no token; \
                            the listener must not be published. Changes need the token. Errors \
                            are RFC 9457 documents.",
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The gateway's CONTROL_TOKEN.",
                },
            },
        },
    })
}

/// The schemas of requests and of responses: a field that is optional in a request is in every
/// response.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        // OpenAPI differs from JSON Schema only in where definitions are.
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

fn path(endpoint: &ControlEndpoint, schemas: &mut Schemas) -> Value {
    let operations = endpoint.operations.iter();
    let described = operations.map(|operation| {
        (operation.method.to_owned(), describe_operation(endpoint, operation, schemas))
    });
    Value::Object(described.collect())
}

fn describe_operation(
    endpoint: &ControlEndpoint,
    operation: &Operation,
    schemas: &mut Schemas,
) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(endpoint, operation, schemas),
        "responses": responses(operation, schemas),
        "security": if operation.changes() { json!([{"token": []}]) } else { json!([]) },
    });
    if let Some(body) = operation.body {
        let schema = schemas.read(body);
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    described
}

fn parameters(
    endpoint: &ControlEndpoint,
    operation: &Operation,
    schemas: &mut Schemas,
) -> Vec<Value> {
    let segments =
        endpoint.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = segments.map(|name| {
        let (description, schema) = match name {
            "pool" => ("Which pool.", schemas.read(SchemaGenerator::subschema_for::<PoolName>)),
            _ => (
                "The instance's name, or its address while its name is unknown.",
                json!({"type": "string"}),
            ),
        };
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": description,
            "schema": schema,
        })
    });
    let mut all: Vec<_> = in_path.collect();
    let Some(query) = operation.query else { return all };
    // Parameters are listed one by one, so the query's type is not a definition.
    let reference = schemas.read(query);
    let name = reference["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
        .unwrap_or_default();
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

/// The schema of an optional parameter: unlike a field it is never null.
fn without_null(schema: &Value) -> Value {
    let choice = schema["anyOf"]
        .as_array()
        .and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
    let mut schema = choice.unwrap_or(schema).clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("description");
    }
    schema
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Map<String, Value> {
    let mut all = Map::new();
    let good = &operation.success;
    let mut response = json!({"description": good.description});
    if let Some((media_type, body)) = good.content {
        let schema = body.map_or_else(|| json!({"type": "object"}), |body| schemas.written(body));
        response["content"] = json!({media_type: {"schema": schema}});
    }
    if let Some((status, description)) = operation.also {
        let mut response = response.clone();
        response["description"] = description.into();
        all.insert(status.to_string(), response);
    }
    all.insert(good.status.to_string(), response);

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
    for &code in
        [&of_all, of_changes, of_queries, of_bodies, operation.errors].into_iter().flatten()
    {
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
