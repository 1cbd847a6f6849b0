//! The lab: a request may say by which code path it wants to be routed.

use pingora::http::RequestHeader;
use proto_contracts::control::Strategy;
use proto_contracts::{ErrorCode, headers};

use crate::config::Lab;

/// The strategy that the request asks for; `None` where the lab is closed or the request leaves it to the pool.
///
/// # Errors
/// When it names no strategy, or names one more than once: to fall back silently would falsify what is being measured.
pub(super) fn requested_strategy(lab: Lab, request: &RequestHeader) -> Result<Option<Strategy>, ErrorCode> {
    if lab == Lab::Closed {
        return Ok(None);
    }
    let mut asked = request.headers.get_all(headers::ROUTING_STRATEGY).iter();
    match (asked.next(), asked.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => {
            let strategy = name.to_str().ok().and_then(|name| name.parse().ok());
            strategy.map(Some).ok_or(ErrorCode::InvalidStrategy)
        }
        (Some(_), Some(_)) => Err(ErrorCode::InvalidStrategy),
    }
}
