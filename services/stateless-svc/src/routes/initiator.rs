//! Who makes a request, for the audit log.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use proto_contracts::RequestId;
use proto_contracts::headers::FORWARDED_FOR;
use service_kit::problem::ApiError;

use crate::domain::audit::{Actor, Initiator};
use crate::issuer::Identity;

/// The request's initiator: the user of its token, its id and the client's address.
pub(super) struct RequestedBy(pub(super) Initiator);

impl FromRequest for RequestedBy {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let identity = request.extensions().get::<Identity>().cloned();
        ready(Ok(Self(initiator(request, identity.as_ref()))))
    }
}

/// The initiator of a request whose token, if any, is this user's.
pub(super) fn initiator(request: &HttpRequest, identity: Option<&Identity>) -> Initiator {
    Initiator {
        actor: identity.map_or(Actor::Anonymous, |identity| Actor::User(identity.user.clone())),
        request_id: request.extensions().get::<RequestId>().copied(),
        address: client_address(request),
        keyed: None,
    }
}

/// The client's address: what the gateway added to `X-Forwarded-For`, or the peer's.
fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let forwarded = request.headers().get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let first = forwarded.and_then(|chain| chain.split(',').next()?.trim().parse().ok());
    first.or_else(|| request.peer_addr().map(|peer| peer.ip()))
}
