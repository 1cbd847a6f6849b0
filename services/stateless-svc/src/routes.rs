//! The HTTP handlers and wire types.

mod app;
mod calculate;
mod info;
mod products;
mod random;

use actix_web::web::ServiceConfig;
pub use app::App;
use proto_contracts::Endpoint;
use service_kit::routes::{get, mount as mount_endpoint, post};

/// Mounts every endpoint of the stateless pool.
pub fn mount(api: &mut ServiceConfig) {
    mount_endpoint(api, Endpoint::Info, || [get(info::info)]);
    mount_endpoint(api, Endpoint::Calculate, || [post(calculate::calculate)]);
    mount_endpoint(api, Endpoint::Random, || [get(random::random)]);
    mount_endpoint(api, Endpoint::Products, || [get(products::list)]);
    mount_endpoint(api, Endpoint::Product, || [get(products::read)]);
}
