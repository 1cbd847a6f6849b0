//! The lab: requests may override the routing strategy.

use pingora::http::RequestHeader;
use proto_contracts::control::Strategy;
use proto_contracts::{ErrorCode, headers};

use crate::config::Lab;

/// The strategy override of the request; `None` without one or if the lab is closed.
///
/// # Errors
/// When the override is invalid or repeated; a silent fallback would falsify measurements.
pub(super) fn requested_strategy(
    lab: Lab,
    request: &RequestHeader,
) -> Result<Option<Strategy>, ErrorCode> {
    if lab == Lab::Closed {
        return Ok(None);
    }
    let mut values = request.headers.get_all(headers::ROUTING_STRATEGY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => {
            let strategy = name.to_str().ok().and_then(|name| name.parse().ok());
            strategy.map(Some).ok_or(ErrorCode::InvalidStrategy)
        }
        (Some(_), Some(_)) => Err(ErrorCode::InvalidStrategy),
    }
}
