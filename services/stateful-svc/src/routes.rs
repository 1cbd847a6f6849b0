//! The service's HTTP API: the handlers and the wire types of the contract.

use actix_web::web;
use proto_contracts::Endpoint;
use service_kit::routes::{delete, get, mount as mount_endpoint, patch, post};

mod caller;
mod context;
mod entity_tags;
mod history;
mod idempotency;
mod live;
mod messages;
mod problems;
mod response;
mod session;
mod session_path;
mod sessions;

pub use context::Sessions;
pub use live::shared::Live;

/// Mounts every endpoint of the service.
pub fn mount(app: &mut web::ServiceConfig, sessions: Sessions) {
    app.app_data(web::Data::new(sessions));
    mount_endpoints(app);
}

/// Mounts them without their shared state, for the test that compares path resolution with the
/// gateway's.
pub fn mount_endpoints(app: &mut web::ServiceConfig) {
    mount_endpoint(app, Endpoint::Sessions, || [post(sessions::create)]);
    mount_endpoint(app, Endpoint::Session, || {
        [get(session::read), patch(session::patch), delete(session::delete)]
    });
    mount_endpoint(app, Endpoint::Messages, || [post(messages::post_to_path)]);
    mount_endpoint(app, Endpoint::Conversations, || [post(messages::post_to_body)]);
    mount_endpoint(app, Endpoint::History, || [get(history::read)]);
    mount_endpoint(app, Endpoint::Events, || [get(live::events::stream)]);
    mount_endpoint(app, Endpoint::Live, || [get(live::socket::open)]);
    mount_endpoint(app, Endpoint::Tickets, || [post(live::tickets::issue)]);
}
