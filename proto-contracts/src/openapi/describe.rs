//! The document.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::accounts::Role;
use crate::error::ErrorCode;
use crate::openapi::components::Components;
use crate::openapi::details::{Body, Caller, Content, Details, Method, Success};
use crate::openapi::header::{self, Header};
use crate::openapi::schemas::{SchemaOf, Schemas};

/// What a document says of its API.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its name.
    pub title: &'a str,
    /// The program's version.
    pub version: &'a str,
    /// What it is, in Markdown.
    pub description: &'a str,
    /// Its SPDX licence.
    pub license: &'a str,
    /// The bearer token.
    pub token: &'a str,
    /// The groups of operations, with their descriptions.
    pub tags: &'a [(&'a str, &'a str)],
    /// The parameters of paths: name, description, schema, example.
    pub path_parameters: &'a [(&'a str, &'a str, SchemaOf, &'a str)],
    /// Error codes of every operation.
    pub errors: &'a [ErrorCode],
    /// Error codes of every operation with a body.
    pub errors_of_bodies: &'a [ErrorCode],
    /// Header fields of every response.
    pub headers: &'a [Header],
}

/// One operation of a document.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Its template.
    pub path: &'a str,
    /// Its method.
    pub method: Method,
    /// The name by which generated clients call it.
    pub id: &'a str,
    /// What it takes, returns and rejects.
    pub details: &'a Details,
    /// The path that replaces this deprecated one.
    pub successor: Option<&'a str>,
}

/// Generates the document of these operations.
pub fn document<'a>(
    about: &About<'_>,
    operations: impl IntoIterator<Item = Described<'a>>,
) -> Value {
    let operations: Vec<_> = operations.into_iter().collect();
    let mut generator = Generator {
        about,
        operations: &operations,
        schemas: Schemas::new(),
        components: Components::default(),
    };
    let mut paths = Map::new();
    for operation in &operations {
        let described = generator.operation(operation);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described;
    }
    let tags: Vec<_> = about
        .tags
        .iter()
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect();
    let mut components = generator.components.into_json(generator.schemas);
    let token = json!({"type": "http", "scheme": "bearer", "description": about.token});
    components.insert("securitySchemes".to_owned(), json!({"token": token}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": about.title,
            "version": about.version,
            "description": about.description,
            "license": {"name": about.license, "identifier": about.license},
        },
        "servers": [{"url": "/", "description": "This host"}],
        "tags": tags,
        "paths": paths,
        "components": components,
    })
}

struct Generator<'a> {
    about: &'a About<'a>,
    operations: &'a [Described<'a>],
    schemas: Schemas,
    components: Components,
}

impl Generator<'_> {
    fn operation(&mut self, operation: &Described<'_>) -> Value {
        let details = operation.details;
        let mut described = json!({
            "operationId": operation.id,
            "summary": details.summary,
            "tags": [details.tag],
            "parameters": self.parameters(operation),
            "responses": self.responses(operation),
            "security": match details.caller {
                Caller::Everyone { with_token: false } | Caller::Issuer => json!([]),
                Caller::Everyone { with_token: true } | Caller::SessionHolder =>
                    json!([{}, {"token": []}]),
                Caller::User(_) | Caller::TokenHolder => json!([{"token": []}]),
            },
        });
        let mut description = details.description.to_owned();
        if let Some(successor) = operation.successor {
            described["deprecated"] = json!(true);
            let _infallible = write!(
                description,
                "{}Deprecated: use `{successor}`. This path ignores unknown members and \
                 parameters.",
                if description.is_empty() { "" } else { " " }
            );
        }
        if !description.is_empty() {
            described["description"] = description.into();
        }
        if let Some(body) = details.body {
            described["requestBody"] = self.body(&body, operation.successor.is_some());
        }
        if details.is_upload {
            described["requestBody"] = upload();
        }
        described
    }

    fn body(&mut self, body: &Body, is_deprecated: bool) -> Value {
        let schema = self.schemas.body(body.schema, is_deprecated);
        json!({
            "required": body.is_required,
            "description": format!("At most {}.", size(body.max_bytes)),
            "content": {body.media_type: {"schema": schema, "example": parsed(body.example)}},
        })
    }

    fn parameters(&mut self, operation: &Described<'_>) -> Vec<Value> {
        let about = self.about;
        let in_path = names_in(operation.path).map(|name| {
            let known = about.path_parameters.iter().find(|(known, ..)| *known == name);
            let Some((_, description, schema, example)) = known else {
                return json!({"name": name, "in": "path", "required": true,
                              "schema": {"type": "string"}});
            };
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": description,
                "schema": self.schemas.in_path(*schema),
                "example": example,
            })
        });
        let mut all: Vec<_> = in_path.collect();
        let details = operation.details;
        if let Some(query) = details.query {
            all.extend(self.schemas.parameters(query));
        }
        let mut headers = details.takes.to_vec();
        if details.is_keyed {
            headers.push(header::IDEMPOTENCY_KEY);
        }
        if details.is_guarded {
            headers.extend([header::IF_MATCH, header::IF_NONE_MATCH]);
        }
        if details.is_passed_on {
            headers.push(header::CHANGE_SCOPE);
        }
        all.extend(headers.iter().map(|field| self.components.parameter(field)));
        all
    }

    fn responses(&mut self, operation: &Described<'_>) -> Map<String, Value> {
        let details = operation.details;
        let mut all = Map::new();
        for good in details.also.iter().chain([&details.success]) {
            all.insert(good.status.to_string(), self.success(operation, good));
        }
        if details.is_conditional {
            let fields = [self.about.headers, &[header::ETAG]].concat();
            let fields = self.components.headers(&fields);
            let description = "`If-None-Match` lists the present `ETag`.";
            all.insert("304".into(), json!({"description": description, "headers": fields}));
        }
        for (status, codes) in self.codes(details) {
            let about = self.about;
            let problems = self.components.problems(
                status,
                &codes,
                about.errors,
                about.headers,
                &mut self.schemas,
            );
            all.insert(status.to_string(), problems);
        }
        all
    }

    fn success(&mut self, operation: &Described<'_>, good: &Success) -> Value {
        let mut response = json!({
            "description": good.description,
            "headers": self.components.headers(&self.headers_of_success(operation)),
        });
        if let Some(content) = &good.content {
            response["content"] = json!({content.media_type: self.content(content)});
        }
        if let Some(links) = self.links(operation.details) {
            response["links"] = links;
        }
        response
    }

    fn content(&mut self, content: &Content) -> Value {
        let schema = match content.schema {
            Some(schema) => self.schemas.written(schema),
            None => json!({"type": "object"}),
        };
        let is_stream = content.media_type == "text/event-stream";
        let mut described = json!({"schema": if is_stream { event(&schema) } else { schema }});
        if let Some(example) = content.example {
            described["example"] = parsed(example);
        }
        described
    }

    fn headers_of_success(&self, operation: &Described<'_>) -> Vec<Header> {
        let details = operation.details;
        let mut all = self.about.headers.to_vec();
        all.extend(details.headers.into_iter().flatten());
        if details.is_conditional {
            all.push(header::ETAG);
        }
        if details.is_cacheable {
            all.push(header::CACHE_CONTROL);
        }
        if details.is_keyed {
            all.push(header::IDEMPOTENCY_REPLAYED);
        }
        if operation.successor.is_some() {
            all.retain(|field| field.name != header::SUCCESSOR.name);
            all.extend([header::DEPRECATION, header::SUCCESSOR]);
        }
        all
    }

    /// From an object to the operations whose paths or bodies have its id.
    fn links(&self, details: &Details) -> Option<Value> {
        let (parameter, pointer) = details.identifies?;
        let value = format!("$response.body#{pointer}");
        let link = |other: &Described<'_>| {
            let mut link = json!({"operationId": other.id});
            if names_in(other.path).any(|name| name == parameter) {
                link["parameters"] = json!({parameter: value});
            } else {
                let mut body = parsed(other.details.body?.example);
                *body.get_mut(parameter)? = json!(value);
                link["requestBody"] = body;
            }
            Some((other.id.to_owned(), link))
        };
        let followers = self.operations.iter().filter(|other| other.successor.is_none());
        Some(Value::Object(followers.filter_map(link).collect()))
    }

    fn codes(&self, details: &Details) -> BTreeMap<u16, Vec<ErrorCode>> {
        let of_queries: &[_] = &[ErrorCode::InvalidQuery];
        let of_keys: &[_] = match details.is_keyed {
            true => &[ErrorCode::InvalidIdempotencyKey, ErrorCode::IdempotencyKeyReused],
            false => &[],
        };
        let of_conditions: &[_] = match details.is_guarded {
            true => &[ErrorCode::InvalidEntityTag, ErrorCode::PreconditionFailed],
            false => &[],
        };
        let of_callers: &[_] = match details.caller {
            Caller::TokenHolder => &[ErrorCode::Unauthorized],
            Caller::Issuer => &[ErrorCode::InvalidToken, ErrorCode::TokenKeysUnavailable],
            Caller::User(Role::User) => &[ErrorCode::Unauthorized, ErrorCode::InvalidToken],
            Caller::User(_) => {
                &[ErrorCode::Unauthorized, ErrorCode::InvalidToken, ErrorCode::Forbidden]
            }
            Caller::Everyone { .. } | Caller::SessionHolder => &[],
        };
        let of_bodies: &[_] =
            if details.body.is_some() { self.about.errors_of_bodies } else { &[] };
        // Of a malformed scope.
        let of_gateways: &[_] = if details.is_passed_on { &[ErrorCode::BadRequest] } else { &[] };
        let [own, also_own, more] = details.errors;
        let groups = [own, also_own, more, of_callers, of_queries, of_bodies, of_keys, of_gateways];
        let mut all = BTreeMap::<u16, Vec<ErrorCode>>::new();
        for &code in groups.into_iter().chain([of_conditions, self.about.errors]).flatten() {
            let codes = all.entry(code.status()).or_default();
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        all
    }
}

/// The body of an upload.
fn upload() -> Value {
    let file = json!({"type": "string", "format": "binary"});
    let form = json!({
        "type": "object",
        "properties": {"file": file},
        "required": ["file"],
        "additionalProperties": false,
    });
    json!({
        "required": true,
        "description": "The file: as the body, with its name in `Content-Disposition`, or as the one \
                        part of a form.",
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {"schema": file},
        },
    })
}

/// The schema of a server-sent event, whose data is JSON of this schema. OpenAPI 3.1 has no other
/// place for it than that of the body's schema.
fn event(data: &Value) -> Value {
    json!({
        "type": "object",
        "description": "Each event.",
        "properties": {
            "event": {"type": "string"},
            "id": {"type": "string"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": data,
            },
        },
        "required": ["event", "data"],
    })
}

fn size(bytes: usize) -> String {
    match bytes {
        1_048_576.. if bytes.is_multiple_of(1_048_576) => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{} KiB", bytes / 1024),
    }
}

/// The names of a template's parameters.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Examples are valid JSON, which a test holds.
fn parsed(example: &str) -> Value {
    serde_json::from_str(example).unwrap_or_default()
}
