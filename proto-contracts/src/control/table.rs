//! The control API, as one table.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::lesson_operations::{CONTINUE_LESSON, GET_LESSONS, LESSONS, START_LESSON, STOP_LESSON};
use super::{
    AddInstance, ChangeInstance, Class, Conversation, Converse, DrainInstance, Event, EventsQuery,
    ExplainQuery, Explanation, InstanceAdded, InstanceChanged, InstanceRemoved, Lab, LabAction,
    LabScale, Pools, ReloadDone, RemoveQuery, SetStrategy, StrategySet, Traffic, TrafficSettings,
};
use crate::error::ErrorCode;
use crate::openapi::{self, About, Caller, Details, Method, header, table};
use crate::pool_name::PoolName;

table! {
    /// A handler for each operation of the control API.
    ControlHandlers {
        "/control/v1/pools" {
            pools: Get GET_POOLS;
        }
        "/control/v1/pools/{pool}/strategy" {
            set_strategy: Put SET_STRATEGY;
        }
        "/control/v1/pools/{pool}/instances" {
            add_instance: Post ADD_INSTANCE;
        }
        "/control/v1/pools/{pool}/instances/{name}" {
            change_instance: Patch CHANGE_INSTANCE;
            remove_instance: Delete REMOVE_INSTANCE;
        }
        "/control/v1/pools/{pool}/instances/{name}/drain" {
            drain_instance: Post DRAIN_INSTANCE;
        }
        "/control/v1/pools/{pool}/instances/{name}/undrain" {
            undrain_instance: Post UNDRAIN_INSTANCE;
        }
        "/control/v1/pools/{pool}/explain" {
            explain: Get EXPLAIN;
        }
        "/control/v1/class" {
            class: Get GET_CLASS;
            reset_class: Delete RESET_CLASS;
        }
        "/control/v1/class/{digest}" {
            kick: Delete KICK;
        }
        "/control/v1/reload" {
            reload: Post RELOAD;
        }
        "/control/v1/events" {
            events: Get STREAM_EVENTS;
        }
        "/control/v1/lab" {
            lab: Get GET_LAB;
        }
        "/control/v1/lab/instances/{name}/{action}" {
            act_in_lab: Post ACT_IN_LAB;
        }
        "/control/v1/lab/pools/{pool}/scale" {
            scale_in_lab: Put SCALE_IN_LAB;
        }
        "/control/v1/traffic" {
            traffic: Get GET_TRAFFIC;
            drive_traffic: Put DRIVE_TRAFFIC;
            stop_traffic: Delete STOP_TRAFFIC;
        }
        "/control/v1/conversation" {
            converse: Post CONVERSE;
        }
        "/control/v1/lessons" {
            lessons: Get GET_LESSONS;
        }
        "/control/v1/lessons/{lesson}" {
            start_lesson: Post START_LESSON;
        }
        "/control/v1/lesson" {
            continue_lesson: Post CONTINUE_LESSON;
            stop_lesson: Delete STOP_LESSON;
        }
        "/control/v1/openapi.json" {
            openapi: Get GET_OPENAPI;
        }
    }
}

const POOLS: &str = "Pools";
const INSTANCES: &str = "Instances";
const CLASS: &str = "Class";
const GATEWAY: &str = "Gateway";
const LAB: &str = "Lab";
const TRAFFIC: &str = "Traffic";

const INSTANCE: &str = r#"{"name": "stateful-1", "addr": "127.0.0.1:8201", "state": "healthy",
    "version": "0.1.0", "in_flight": 3, "streams": 1, "requests": 4711, "connect_failures": 0,
    "live_sessions": 120, "key_share_percent": 33.4, "weight": 1, "missed": []}"#;

/// A change, which needs the token.
const fn change(tag: &'static str, summary: &'static str) -> Details {
    Details::new(tag, summary).called_by(Caller::TokenHolder)
}

/// A change of a pool at all gateways, which is written to the state file.
const fn change_of_pool(tag: &'static str, summary: &'static str) -> Details {
    change(tag, summary)
        .passed_on()
        .fails_with(&[ErrorCode::PoolNotFound, ErrorCode::StateNotSaved])
}

const GET_POOLS: Details = Details::new(POOLS, "Show both pools and their instances")
    .returns::<Pools>(
        200,
        "The pools as they are now.",
        r#"{"pools": [{"name": "stateful", "strategy": "sticky", "epoch": "5f0c6e1a", "instances": [
            {"name": "stateful-1", "addr": "127.0.0.1:8201", "state": "healthy", "in_flight": 3,
             "streams": 1, "requests": 4711, "connect_failures": 0, "live_sessions": 120,
             "key_share_percent": 100.0, "weight": 1}]}]}"#,
    );

const SET_STRATEGY: Details = change_of_pool(POOLS, "Switch the strategy")
    .described_as(
        "From the next request on. Rendezvous hashing keeps no table, so after a switch back every \
         session is at its home again. `ip_hash` and `least_conn` are for lessons: a gateway whose \
         lab is off rejects them.",
    )
    .body::<SetStrategy>(r#"{"strategy": "sticky"}"#)
    .returns::<StrategySet>(
        200,
        "The strategy from now on.",
        r#"{"strategy": "sticky", "lasts": "saved", "missed": [
            {"gateway": "192.0.2.8:8001", "cause": "no response within 2 s"}]}"#,
    )
    .fails_with(&[ErrorCode::InvalidStrategy]);

const ADD_INSTANCE: Details = change_of_pool(INSTANCES, "Add an instance")
    .described_as(
        "Its name is read from its health response; until then it is `pending`. With `lease_s` it is \
         a canary: its membership ends by itself unless the request is repeated, and a restart of \
         the gateway ends it, too.",
    )
    .body::<AddInstance>(r#"{"addr": "127.0.0.1:8204", "weight": 2}"#)
    .returns::<InstanceAdded>(
        201,
        "The instance after its first health check.",
        r#"{"name": "stateful-4", "addr": "127.0.0.1:8204", "state": "healthy", "in_flight": 0,
            "streams": 0, "requests": 0, "connect_failures": 0, "live_sessions": 0,
            "key_share_percent": 40.1, "weight": 2, "lasts": "saved", "missed": []}"#,
    )
    .also(200, "The pool already has it: the instance as it is.")
    .fails_with(&[
        ErrorCode::InstanceNotFound,
        ErrorCode::InstanceExists,
        ErrorCode::InvalidInstance,
        ErrorCode::WrongInstance,
    ]);

const CHANGE_INSTANCE: Details = change_of_pool(INSTANCES, "Change an instance's weight")
    .described_as("The instance announces it, so it applies at all gateways.")
    .body::<ChangeInstance>(r#"{"weight": 2}"#)
    .returns::<InstanceChanged>(200, "The instance from now on.", INSTANCE)
    .fails_with(&[ErrorCode::InstanceNotFound, ErrorCode::UpstreamFailed]);

const REMOVE_INSTANCE: Details = change_of_pool(INSTANCES, "Remove an instance")
    .described_as(
        "By name, or by address while its name is unknown. Requests in flight continue. It is a \
         success, too, if only another gateway still had it.",
    )
    .query::<RemoveQuery>()
    .returns_nothing(204, "Removed.")
    .or_returns::<InstanceRemoved>(
        200,
        "Removed here, but not at each of the deployment's other gateways.",
        r#"{"missed": [{"gateway": "192.0.2.8:8001", "cause": "no response within 2 s"}]}"#,
    )
    .with_headers(&[header::CHANGE_LASTS])
    .fails_with(&[ErrorCode::InstanceNotFound, ErrorCode::LastInstance]);

const DRAIN_INSTANCE: Details = change_of_pool(INSTANCES, "Drain an instance")
    .described_as(
        "It gets no new keys, and its old ones move away after the deadline. The instance \
         announces it, so it applies at all gateways, until it is undrained.",
    )
    .body::<DrainInstance>(r#"{"deadline_s": 30}"#)
    .returns::<InstanceChanged>(
        200,
        "The instance and the progress of its drain.",
        r#"{"name": "stateful-1", "addr": "127.0.0.1:8201", "state": "draining", "in_flight": 3,
            "streams": 1, "requests": 4711, "connect_failures": 0, "live_sessions": 120,
            "key_share_percent": 33.4, "weight": 1,
            "drain": {"seconds_left": 30, "announced": true, "serves_as_the_last": false},
            "missed": []}"#,
    )
    .fails_with(&[ErrorCode::InstanceNotFound, ErrorCode::LastInstance]);

const UNDRAIN_INSTANCE: Details = change_of_pool(INSTANCES, "End a drain")
    .described_as("The instance gets its keys back. Without a drain it has no effect.")
    .returns::<InstanceChanged>(200, "The instance as it is now.", INSTANCE)
    .fails_with(&[ErrorCode::InstanceNotFound, ErrorCode::UpstreamFailed]);

const EXPLAIN: Details = Details::new(POOLS, "Explain where a key goes")
    .described_as(
        "The ranking of all members for a key, and which of them serves it now. With `without`, \
         `with`, `drain` or `weight`, also what that change would move.",
    )
    .query::<ExplainQuery>()
    .returns::<Explanation>(
        200,
        "The key's ranking, the chosen instance and the reason.",
        r#"{"key": "0badcafe", "pool": "stateful", "strategy": "sticky", "epoch": "5f0c6e1a",
            "ranking": [{"rank": 1, "name": "stateful-1", "score": "f3a1c27e90b4d658", "weight": 1,
                         "state": "healthy"}],
            "choice": "stateful-1", "reason": "stateful-1 is the key's home"}"#,
    )
    .fails_with(&[ErrorCode::PoolNotFound, ErrorCode::InstanceNotFound, ErrorCode::InstanceExists]);

const GET_CLASS: Details = change(CLASS, "Show the class")
    .described_as(
        "The address and code of the room, and who holds a session. It needs the token, because \
         the code opens the room. Without a class (`CLASS_URL`) it is a 404.",
    )
    .returns::<Class>(
        200,
        "The class as it is now.",
        r#"{"url": "https://192.0.2.7:8444/class#KHWXTM", "code": "KHWXTM",
            "qr": ["1111111", "1000001"], "people": [
            {"instance": "stateful-2", "nickname": "Ada",
             "digest": "00112233445566778899aabbccddeeff", "key": "0badcafe", "message_count": 7,
             "source": "memory", "served_at_ms": 1795935600000}], "missed": []}"#,
    )
    .fails_with(&[ErrorCode::NotFound]);

const RESET_CLASS: Details = change(CLASS, "End all sessions of the class")
    .returns_nothing(204, "Ended.")
    .fails_with(&[ErrorCode::NotFound, ErrorCode::UpstreamFailed]);

const KICK: Details = change(CLASS, "End a session of the class")
    .described_as("By its digest. Only a session that an instance has served to the class.")
    .returns_nothing(204, "Ended.")
    .fails_with(&[ErrorCode::NotFound, ErrorCode::SessionNotFound, ErrorCode::UpstreamFailed]);

const RELOAD: Details = change(GATEWAY, "Reload the configuration")
    .passed_on()
    .described_as("Each gateway reads its own file. An invalid configuration changes nothing.")
    .returns::<ReloadDone>(
        200,
        "The configuration from now on.",
        r#"{"fingerprint": "9b7a4c35", "needs_restart": [], "missed": []}"#,
    )
    .fails_with(&[ErrorCode::InvalidConfig]);

const STREAM_EVENTS: Details = Details::new(GATEWAY, "Stream events")
    .described_as(
        "Server-sent events, beginning with the present pools: changes of strategy, membership and \
         health, and `routed`, a sample of finished requests.",
    )
    .query::<EventsQuery>()
    .streams::<Event>("One of these as the data of each server-sent event.")
    .fails_with(&[ErrorCode::TooManyStreams]);

const LAB_EXAMPLE: &str = r#"{"agent": true, "class": false, "most_instances": 8, "instances": [
    {"name": "stateful-1", "pool": "stateful", "state": "killed"}]}"#;

const GET_LAB: Details =
    Details::new(LAB, "Show whether this is a lab, and the instances as processes")
        .returns::<Lab>(200, "What the local stack's agent knows.", LAB_EXAMPLE)
        .fails_with(&[ErrorCode::UpstreamFailed]);

/// A change that the agent of the local stack makes; 404 without one (`[control] agent`).
const fn change_in_lab(summary: &'static str) -> Details {
    change(LAB, summary).returns::<Lab>(200, "The instances after it.", LAB_EXAMPLE).fails_with(&[
        ErrorCode::NotFound,
        ErrorCode::WrongState,
        ErrorCode::ComponentFailed,
        ErrorCode::UpstreamFailed,
    ])
}

const ACT_IN_LAB: Details = change_in_lab("Kill, stop or start an instance")
    .described_as("404 without an agent, as in production.")
    .fails_with(&[ErrorCode::InstanceNotFound]);

const SCALE_IN_LAB: Details = change_in_lab("Set the number of a pool's instances")
    .described_as(
        "Instances beyond it are drained, then stopped. 404 without an agent, as in production.",
    )
    .body::<LabScale>(r#"{"instances": 4}"#)
    .fails_with(&[ErrorCode::PoolNotFound]);

const TRAFFIC_EXAMPLE: &str = r#"{"driver": true, "running": true,
    "settings": {"clients": 20, "stateless_percent": 30, "reads_percent": 70, "think_time_ms": 250,
                 "clients_per_address": 1, "cookie_jar": true},
    "sessions": 20, "pools": [
    {"pool": "stateless", "requests_per_s": 24.2, "requests": 1452, "failures": []},
    {"pool": "stateful", "requests_per_s": 55.8, "requests": 3348, "failures": [
        {"kind": "session_not_found", "count": 7}]}]}"#;

const GET_TRAFFIC: Details = Details::new(TRAFFIC, "Show the traffic of the driver")
    .described_as("Without a driver (`[control] driver`), `driver` is false and nothing runs.")
    .returns::<Traffic>(200, "Settings and what was measured.", TRAFFIC_EXAMPLE)
    .fails_with(&[ErrorCode::UpstreamFailed]);

/// A change that the driver makes; 404 without one (`[control] driver`).
const fn change_of_traffic(summary: &'static str) -> Details {
    change(TRAFFIC, summary)
        .returns::<Traffic>(200, "The traffic after it.", TRAFFIC_EXAMPLE)
        .fails_with(&[ErrorCode::NotFound, ErrorCode::UpstreamFailed])
}

const DRIVE_TRAFFIC: Details = change_of_traffic("Start the traffic, or change it")
    .described_as(
        "All settings at once. Clients that run take them over with their next request. 404 without \
         a driver.",
    )
    .body::<TrafficSettings>(
        r#"{"clients": 20, "stateless_percent": 30, "reads_percent": 70, "think_time_ms": 250,
            "clients_per_address": 1, "cookie_jar": true}"#,
    );

const STOP_TRAFFIC: Details = change_of_traffic("Stop the traffic").described_as(
    "The clients delete their sessions. Without traffic it has no effect. 404 without a driver.",
);

const CONVERSE: Details = change(TRAFFIC, "Be a client: send one request")
    .described_as(
        "As one of four people, with a cookie jar or without. The driver sends it, and shows what \
         routing depends on. There is no other request, and no other target. 404 without a driver.",
    )
    .body::<Converse>(
        r#"{"person": "A", "act": "say", "cookie_jar": true, "message": "Do you remember me?"}"#,
    )
    .returns::<Conversation>(
        200,
        "The requests that were sent, with their responses.",
        r#"{"person": "A", "has_session": true, "exchanges": [
            {"method": "POST", "path": "/api/v1/stateful/conversations",
             "sent": [{"name": "cookie", "value": "affinity=0badcafe"}], "status": 201,
             "duration_ms": 1.4, "headers": [{"name": "x-served-by", "value": "stateful-2"}],
             "body": "{\"number\":1}"}]}"#,
    )
    .fails_with(&[ErrorCode::NotFound, ErrorCode::UpstreamFailed]);

const GET_OPENAPI: Details =
    Details::new(GATEWAY, "Read this document").returns_any("OpenAPI 3.1.");

/// Whether a gateway passes this operation on to the deployment's other gateways.
pub fn is_passed_on(path: &str, method: Method) -> bool {
    OPERATIONS.iter().any(|operation| {
        operation.path == path && operation.method == method && operation.details.is_passed_on
    })
}

/// Generates the control API's OpenAPI document.
pub fn document() -> Value {
    let about = About {
        title: "Tandem's control API",
        version: env!("CARGO_PKG_VERSION"),
        description: "Operators inspect and change the gateway here. Reads need no token; the \
                      listener must not be published. Changes need the token. A change that has \
                      `missed` in its response is passed on to the deployment's other gateways. \
                      Errors are problem documents (RFC 9457).",
        license: env!("CARGO_PKG_LICENSE"),
        token: "The gateway's CONTROL_TOKEN.",
        tags: &[
            (POOLS, "The two pools, their strategies, and where a key goes."),
            (INSTANCES, "Membership, weights and drains."),
            (CLASS, "The people of a class, by nickname."),
            (GATEWAY, "The gateway itself."),
            (LAB, "Processes of a local stack, by its agent; absent in production."),
            (TRAFFIC, "Clients that a driver simulates, `loadtest drive`; absent in production."),
            (
                LESSONS,
                "Predictions beside measurements, for a class, by the driver of a local stack.",
            ),
        ],
        path_parameters: &[
            ("pool", "Which pool.", SchemaGenerator::subschema_for::<PoolName>, "stateful"),
            (
                "name",
                "The instance's name, or its address while its name is unknown.",
                SchemaGenerator::subschema_for::<String>,
                "stateful-1",
            ),
            (
                "digest",
                "The digest of a session's id, 32 hex digits.",
                SchemaGenerator::subschema_for::<String>,
                "00112233445566778899aabbccddeeff",
            ),
            (
                "lesson",
                "The lesson's name.",
                SchemaGenerator::subschema_for::<String>,
                "round-robin",
            ),
            ("action", "What to do.", SchemaGenerator::subschema_for::<LabAction>, "kill"),
        ],
        errors: &[ErrorCode::MisdirectedRequest, ErrorCode::Internal],
        errors_of_bodies: &[
            ErrorCode::MalformedJson,
            ErrorCode::InvalidBody,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::BodyTooLarge,
            ErrorCode::RequestTimeout,
        ],
        headers: &[header::REQUEST_ID],
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

    #[test]
    fn what_changes_the_routing_is_passed_on() {
        let passed_on = OPERATIONS.iter().filter(|row| is_passed_on(row.path, row.method));
        let passed_on: Vec<_> = passed_on.map(|operation| operation.id).collect();
        let expected = [
            "set_strategy",
            "add_instance",
            "change_instance",
            "remove_instance",
            "drain_instance",
            "undrain_instance",
            "reload",
        ];
        assert_eq!(passed_on, expected, "the others act on instances, not on the gateway");
    }
}
