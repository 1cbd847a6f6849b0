//! The table of what the control plane serves.

use proto_contracts::ErrorCode;
use proto_contracts::control::{self, Event};

use crate::control::api::{Endpoint, Operation};
use crate::control::{drain, events, explain, instances, openapi, pools, reload};

/// Everything that the control plane serves beside its health and metrics: what is mounted is what is documented.
pub(super) fn all() -> [Endpoint; 10] {
    [
        Endpoint::new(
            "/control/v1/pools",
            [Operation::get("pools", "Both pools with their instances.", pools::list)
                .answers::<control::Pools>(200, "The pools as they are now.")],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/strategy",
            [Operation::put("set_strategy", "Switches the strategy, from the next request on.", pools::set_strategy)
                .body::<control::SetStrategy>()
                .answers::<control::StrategySet>(200, "The strategy from now on.")
                .refuses(&[ErrorCode::PoolNotFound, ErrorCode::StateNotSaved])],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/instances",
            [Operation::post("add_instance", "Adds an instance, which tells its name itself.", instances::add)
                .body::<control::AddInstance>()
                .answers::<control::InstanceAdded>(201, "The instance as its first check found it.")
                .also(200, "It is there already: the instance as it is.")
                .refuses(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::InstanceExists,
                    ErrorCode::InvalidInstance,
                    ErrorCode::WrongInstance,
                    ErrorCode::StateNotSaved,
                ])],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/instances/{name}",
            [
                Operation::patch(
                    "change_instance",
                    "Changes an instance's weight, at all gateways.",
                    instances::change,
                )
                .body::<control::ChangeInstance>()
                .answers::<control::Instance>(200, "The instance from now on.")
                .refuses(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::UpstreamFailed,
                    ErrorCode::StateNotSaved,
                ]),
                Operation::delete(
                    "remove_instance",
                    "Removes an instance; requests in flight go on.",
                    instances::remove,
                )
                .query::<control::RemoveQuery>()
                .refuses(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::LastInstance,
                    ErrorCode::StateNotSaved,
                ]),
            ],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/instances/{name}/drain",
            [Operation::post(
                "drain_instance",
                "Drains an instance: no new keys, and a deadline for the old.",
                drain::drain,
            )
            .body::<control::DrainInstance>()
            .answers::<control::Instance>(200, "The instance, and how its drain goes.")
            .refuses(&[
                ErrorCode::PoolNotFound,
                ErrorCode::InstanceNotFound,
                ErrorCode::LastInstance,
                ErrorCode::StateNotSaved,
            ])],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/instances/{name}/undrain",
            [Operation::post("undrain_instance", "Ends a drain: the instance gets its keys back.", drain::undrain)
                .answers::<control::Instance>(200, "The instance as it is now.")
                .refuses(&[
                    ErrorCode::PoolNotFound,
                    ErrorCode::InstanceNotFound,
                    ErrorCode::UpstreamFailed,
                    ErrorCode::StateNotSaved,
                ])],
        ),
        Endpoint::new(
            "/control/v1/pools/{pool}/explain",
            [Operation::get("explain", "Where a key goes and why, and what a change would move.", explain::explain)
                .query::<control::ExplainQuery>()
                .answers::<control::Explanation>(200, "The key's ranking, and the choice with its reason.")
                .refuses(&[ErrorCode::PoolNotFound, ErrorCode::InstanceNotFound, ErrorCode::InstanceExists])],
        ),
        Endpoint::new(
            "/control/v1/reload",
            [Operation::post("reload", "Reads the configuration again; a wrong one changes nothing.", reload::reload)
                .answers::<control::Reloaded>(200, "The configuration in force from now on.")
                .refuses(&[ErrorCode::InvalidConfig])],
        ),
        Endpoint::new(
            "/control/v1/events",
            [Operation::get("events", "Tells what happens, the pools as they are first.", events::stream)
                .query::<control::EventsQuery>()
                .answers_as::<Event>("text/event-stream", 200, "One of these as the data of each server-sent event.")
                .refuses(&[ErrorCode::TooManyStreams])],
        ),
        Endpoint::new(
            "/control/v1/openapi.json",
            [Operation::get("openapi", "This document.", openapi::document).answers_any("OpenAPI 3.1.")],
        ),
    ]
}
