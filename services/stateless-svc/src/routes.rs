//! The HTTP handlers and wire types.

mod app;
mod calculate;
mod conditional;
mod info;
mod openapi;
mod products;
mod random;

use actix_web::web::ServiceConfig;
pub use app::App;
use proto_contracts::api::StatelessHandlers;
use service_kit::routes::{self, handler};

/// Mounts every endpoint of the stateless pool.
pub fn mount(api: &mut ServiceConfig) {
    let handlers = StatelessHandlers {
        get_info: handler(info::info),
        calculate: handler(calculate::calculate),
        draw_random: handler(random::random),
        list_products: handler(products::list),
        get_product: handler(products::read),
        get_openapi: handler(openapi::document),
    };
    routes::mount(api, handlers.into_endpoints());
}
