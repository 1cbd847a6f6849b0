//! HTTP and the wire types; everything else is elsewhere.

mod calculate;
mod info;
mod products;
mod random;

use std::sync::Arc;
use std::time::Instant;

use actix_web::web::ServiceConfig;
use proto_contracts::{Endpoint, InstanceName};
use service_kit::routes::{get, mount as mount_endpoint, post};

use crate::store::cache::DocumentCache;
use crate::store::products::Products;

/// What the handlers of all workers share.
pub struct App {
    /// Who answers.
    pub instance: InstanceName,
    /// Since when.
    pub started: Instant,
    /// The catalogue.
    pub products: Products,
    /// Answers that were given before.
    pub documents: Arc<DocumentCache>,
}

/// Mounts every endpoint of the stateless pool.
pub fn mount(api: &mut ServiceConfig) {
    mount_endpoint(api, Endpoint::Info, || [get(info::info)]);
    mount_endpoint(api, Endpoint::Calculate, || [post(calculate::calculate)]);
    mount_endpoint(api, Endpoint::Random, || [get(random::random)]);
    mount_endpoint(api, Endpoint::Products, || [get(products::list)]);
    mount_endpoint(api, Endpoint::Product, || [get(products::read)]);
}
