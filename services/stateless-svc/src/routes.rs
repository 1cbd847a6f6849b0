//! The HTTP handlers and wire types.

mod acknowledged;
mod app;
mod audit;
mod auth;
mod calculate;
mod conditional;
mod files;
mod idempotency;
mod identity;
mod info;
mod initiator;
mod invitations;
mod openapi;
mod product_changes;
mod product_document;
mod products;
mod random;
mod refresh_cookie;
mod replies;
mod users;

use acknowledged::change;
use actix_web::web::ServiceConfig;
pub use app::App;
pub use auth::Auth;
pub use files::FilesState;
pub use idempotency::Repetitions;
pub use identity::admission;
use proto_contracts::api::StatelessHandlers;
use service_kit::routes::{self, handler};

/// Mounts every endpoint of the stateless pool.
pub fn mount(api: &mut ServiceConfig) {
    let handlers = StatelessHandlers {
        get_info: handler(info::info),
        calculate: handler(calculate::calculate),
        draw_random: handler(random::random),
        list_products: handler(products::list),
        create_product: change(product_changes::create),
        get_product: handler(products::read),
        patch_product: change(product_changes::patch),
        delete_product: change(product_changes::delete),
        reserve_product: change(product_changes::reserve),
        register: handler(auth::register),
        log_in: change(auth::log_in),
        refresh: handler(auth::refresh),
        log_out: change(auth::log_out),
        change_password: change(auth::change_password),
        accept_invitation: change(invitations::accept),
        get_me: handler(auth::me),
        list_users: handler(users::list),
        get_user: handler(users::read),
        patch_user: change(users::patch),
        delete_user: change(users::delete),
        invite_user: change(invitations::invite),
        list_audit: handler(audit::list),
        list_files: handler(files::list),
        upload_file: change(files::upload),
        get_file: handler(files::read),
        delete_file: change(files::delete),
        download_file: handler(files::download),
        get_jwks: handler(auth::jwks),
        get_openapi: handler(openapi::document),
    };
    routes::mount(api, handlers.into_endpoints());
}
