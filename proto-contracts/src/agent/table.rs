//! The agent's API, as one table.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::bodies::{Action, LogLines, LogsQuery, Scale, StackStatus};
use crate::error::ErrorCode;
use crate::openapi::{self, About, Caller, Details, table};

table! {
    /// A handler for each operation of the agent.
    AgentHandlers {
        "/agent/v1/status" {
            status: Get GET_STATUS;
        }
        "/agent/v1/scale" {
            scale: Post SCALE;
        }
        "/agent/v1/instances/{name}/{action}" {
            act: Post ACT;
        }
        "/agent/v1/logs/{name}" {
            logs: Get GET_LOGS;
        }
        "/agent/v1/shutdown" {
            shutdown: Post SHUT_DOWN;
        }
        "/agent/v1/openapi.json" {
            openapi: Get GET_OPENAPI;
        }
    }
}

const STACK: &str = "Stack";
const COMPONENTS: &str = "Components";

const STATUS: &str = r#"{"phase": "ready", "store": "hybrid", "redis": "single", "port_offset": 0,
    "lab": false, "urls": {"https": "https://127.0.0.1:8443", "gateway": "http://127.0.0.1:8000",
    "control": "http://127.0.0.1:8001", "agent": "http://127.0.0.1:8002"},
    "ca_file": "/srv/tandem/.local/tls/ca.pem",
    "control_token_file": "/srv/tandem/.local/control.token",
    "components": [{"name": "stateful-1", "pool": "stateful", "state": "running", "pid": 4711,
                    "port": 8201, "uptime_s": 86400, "log": "/srv/tandem/.local/log/stateful-1.log"}]}"#;

/// An operation that needs the token, and returns the stack's state after it.
const fn change(tag: &'static str, summary: &'static str) -> Details {
    Details::new(tag, summary)
        .called_by(Caller::TokenHolder)
        .returns::<StackStatus>(200, "The stack after the change.", STATUS)
        .fails_with(&[ErrorCode::WrongState, ErrorCode::ComponentFailed])
}

const GET_STATUS: Details = Details::new(STACK, "Show the stack and its components")
    .returns::<StackStatus>(200, "The stack as it is now.", STATUS);

const SCALE: Details = change(STACK, "Set the number of a pool's instances")
    .described_as("Instances beyond it are drained, then stopped. 0 needs `force`.")
    .body::<Scale>(r#"{"pool": "stateful", "instances": 4}"#);

const ACT: Details = change(COMPONENTS, "Kill, stop, start, pause, resume, roll or upgrade")
    .described_as(
        "`kill` is SIGKILL, `pause` SIGSTOP and `resume` SIGCONT. `roll` drains and restarts an \
         instance; `upgrade` replaces a gateway by a new process. Neither fails a request.",
    )
    .fails_with(&[ErrorCode::NotFound, ErrorCode::InstanceNotFound, ErrorCode::InvalidBody]);

const GET_LOGS: Details = Details::new(COMPONENTS, "Read the end of a component's log")
    .called_by(Caller::TokenHolder)
    .query::<LogsQuery>()
    .returns::<LogLines>(
        200,
        "The last lines, oldest first.",
        r#"{"path": "/srv/tandem/.local/log/stateful-1.log", "lines": ["{\"level\":\"INFO\"}"]}"#,
    )
    .fails_with(&[ErrorCode::InstanceNotFound, ErrorCode::WrongState]);

const SHUT_DOWN: Details =
    Details::new(STACK, "Stop everything").called_by(Caller::TokenHolder).returns::<StackStatus>(
        202,
        "The stack, which stops from now on.",
        STATUS,
    );

const GET_OPENAPI: Details = Details::new(STACK, "Read this document").returns_any("OpenAPI 3.1.");

/// Whether the operations of this path need the token.
pub fn needs_token(path: &str) -> bool {
    let mut of_path = OPERATIONS.iter().filter(|operation| operation.path == path);
    of_path.any(|operation| operation.details.caller == Caller::TokenHolder)
}

/// Generates the agent's OpenAPI document.
pub fn document() -> Value {
    let about = About {
        title: "Tandem's agent",
        version: env!("CARGO_PKG_VERSION"),
        description: "Runs the whole system as processes on one machine. It listens on loopback \
                      only and accepts only loopback host names. Changes and logs need the token. \
                      Errors are problem documents (RFC 9457).",
        license: env!("CARGO_PKG_LICENSE"),
        token: "The content of `agent.token` in the stack's state folder.",
        tags: &[
            (STACK, "All components together."),
            (COMPONENTS, "One process: an instance, a gateway, a database."),
        ],
        path_parameters: &[
            (
                "name",
                "The component's name.",
                SchemaGenerator::subschema_for::<String>,
                "stateful-1",
            ),
            ("action", "What to do.", SchemaGenerator::subschema_for::<Action>, "kill"),
        ],
        errors: &[ErrorCode::BadRequest, ErrorCode::MisdirectedRequest, ErrorCode::Internal],
        errors_of_bodies: &[
            ErrorCode::MalformedJson,
            ErrorCode::InvalidBody,
            ErrorCode::BodyTooLarge,
        ],
        headers: &[],
    };
    openapi::document(&about, OPERATIONS.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_have_their_types() {
        openapi::check_examples(OPERATIONS);
    }
}
