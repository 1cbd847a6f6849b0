//! The endpoints of the control plane.

use proto_contracts::ErrorCode;
use proto_contracts::control::{self, Event};

use crate::control::api::{ControlEndpoint, Operation};
use crate::control::{drain, events, explain, instances, openapi, pools, reload};

/// Everything that the control plane serves besides health and metrics.
pub(super) fn all() -> [ControlEndpoint; 10] {
    [
        ControlEndpoint::new(
            "/control/v1/pools",
            [Operation::get("pools", "Both pools with their instances.", pools::list)
                .returns::<control::Pools>(200, "The pools as they are now.")],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/strategy",
            [Operation::put(
                "set_strategy",
                "Switches the strategy from the next request on.",
                pools::set_strategy,
            )
            .body::<control::SetStrategy>()
            .returns::<control::StrategySet>(200, "The strategy from now on.")
            .fails_with(&[ErrorCode::PoolNotFound, ErrorCode::StateNotSaved])],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/instances",
            [Operation::post(
                "add_instance",
                "Adds an instance; its name is read from its health response.",
                instances::add,
            )
            .body::<control::AddInstance>()
            .returns::<control::InstanceAdded>(201, "The instance after its first health check.")
            .also(200, "The pool already has it: the instance as it is.")
            .fails_with(&[
                ErrorCode::PoolNotFound,
                ErrorCode::InstanceNotFound,
                ErrorCode::InstanceExists,
                ErrorCode::InvalidInstance,
                ErrorCode::WrongInstance,
                ErrorCode::StateNotSaved,
            ])],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/instances/{name}",
            [
                Operation::patch(
                    "change_instance",
                    "Changes an instance's weight at all gateways.",
                    instances::change,
                )
                .body::<control::ChangeInstance>()
                .returns::<control::Instance>(200, "The instance from now on.")
                .fails_with(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::UpstreamFailed,
                    ErrorCode::StateNotSaved,
                ]),
                Operation::delete(
                    "remove_instance",
                    "Removes an instance; requests in flight continue.",
                    instances::remove,
                )
                .query::<control::RemoveQuery>()
                .fails_with(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::LastInstance,
                    ErrorCode::StateNotSaved,
                ]),
            ],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/instances/{name}/drain",
            [Operation::post(
                "drain_instance",
                "Drains an instance: no new keys, and a deadline for the old ones.",
                drain::drain,
            )
            .body::<control::DrainInstance>()
            .returns::<control::Instance>(200, "The instance and the progress of its drain.")
            .fails_with(&[
                ErrorCode::PoolNotFound,
                ErrorCode::InstanceNotFound,
                ErrorCode::LastInstance,
                ErrorCode::StateNotSaved,
            ])],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/instances/{name}/undrain",
            [Operation::post(
                "undrain_instance",
                "Ends a drain: the instance gets its keys back.",
                drain::undrain,
            )
            .returns::<control::Instance>(200, "The instance as it is now.")
            .fails_with(&[
                ErrorCode::PoolNotFound,
                ErrorCode::InstanceNotFound,
                ErrorCode::UpstreamFailed,
                ErrorCode::StateNotSaved,
            ])],
        ),
        ControlEndpoint::new(
            "/control/v1/pools/{pool}/explain",
            [Operation::get(
                "explain",
                "Where a key goes and why, and what a change would move.",
                explain::explain,
            )
            .query::<control::ExplainQuery>()
            .returns::<control::Explanation>(
                200,
                "The key's ranking, the chosen instance and the reason.",
            )
            .fails_with(&[
                ErrorCode::PoolNotFound,
                ErrorCode::InstanceNotFound,
                ErrorCode::InstanceExists,
            ])],
        ),
        ControlEndpoint::new(
            "/control/v1/reload",
            [Operation::post(
                "reload",
                "Reloads the configuration; an invalid one changes nothing.",
                reload::reload,
            )
            .returns::<control::Reloaded>(200, "The configuration from now on.")
            .fails_with(&[ErrorCode::InvalidConfig])],
        ),
        ControlEndpoint::new(
            "/control/v1/events",
            [Operation::get(
                "events",
                "Streams events, beginning with the current pools.",
                events::stream,
            )
            .query::<control::EventsQuery>()
            .returns_as::<Event>(
                "text/event-stream",
                200,
                "One of these as the data of each server-sent event.",
            )
            .fails_with(&[ErrorCode::TooManyStreams])],
        ),
        ControlEndpoint::new(
            "/control/v1/openapi.json",
            [Operation::get("openapi", "This document.", openapi::document)
                .returns_any("OpenAPI 3.1.")],
        ),
    ]
}
