//! The lab: requests may override the routing strategy.

use http::HeaderName;
use proto_contracts::control::Strategy;
use proto_contracts::{ErrorCode, headers};

use crate::config::Lab;
use crate::request::RequestHead;

const X_ROUTING_STRATEGY: HeaderName = HeaderName::from_static(headers::ROUTING_STRATEGY);

/// The strategy override of the request; `None` without one or if the lab is closed.
///
/// # Errors
/// When the override is invalid or repeated; a silent fallback would falsify measurements.
pub(super) fn requested_strategy(
    lab: Lab,
    head: &impl RequestHead,
) -> Result<Option<Strategy>, ErrorCode> {
    if lab == Lab::Closed {
        return Ok(None);
    }
    let mut values = head.values(X_ROUTING_STRATEGY);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => {
            let strategy = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            strategy.map(Some).ok_or(ErrorCode::InvalidStrategy)
        }
        (Some(_), Some(_)) => Err(ErrorCode::InvalidStrategy),
    }
}
