//! The service's HTTP API: the handlers and the wire types of the contract.

use actix_web::web;
use proto_contracts::api::StatefulHandlers;
use service_kit::routes::{self, handler};

mod caller;
mod claims;
mod class;
mod context;
mod entity_tags;
mod history;
mod idempotency;
mod live;
mod messages;
mod owned;
mod problems;
mod response;
mod security_events;
mod session;
mod session_path;
mod sessions;

pub use context::Sessions;
pub use live::shared::Live;

/// Mounts every endpoint of the service.
pub fn mount(app: &mut web::ServiceConfig, sessions: Sessions) {
    let is_class = sessions.roster.is_some();
    app.app_data(web::Data::new(sessions));
    if is_class {
        class::mount(app);
    }
    mount_endpoints(app);
}

/// Mounts them without their shared state, for the test that compares path resolution with the
/// gateway's.
pub fn mount_endpoints(app: &mut web::ServiceConfig) {
    let handlers = StatefulHandlers {
        list_sessions: handler(owned::list),
        create_session: handler(sessions::create),
        end_sessions: handler(owned::end),
        get_session: handler(session::read),
        patch_session: handler(session::patch),
        delete_session: handler(session::delete),
        claim_session: handler(claims::claim),
        post_conversation: handler(messages::post_to_body),
        post_message: handler(messages::post_to_path),
        get_history: handler(history::read),
        stream_events: handler(live::events::stream),
        open_live: handler(live::socket::open),
        receive_security_event: handler(security_events::receive),
        create_ticket: handler(live::tickets::issue),
    };
    routes::mount(app, handlers.into_endpoints());
}
