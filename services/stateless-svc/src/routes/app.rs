//! The state that handlers share.

use std::sync::Arc;
use std::time::Instant;

use proto_contracts::InstanceName;

use crate::store::cache::DocumentCache;
use crate::store::product_changes::ProductChanges;
use crate::store::products::Products;
use crate::store::replica::Commits;

/// Shared by the handlers of all workers.
pub struct App {
    /// The name of this instance.
    pub instance: InstanceName,
    /// When the process started.
    pub started: Instant,
    /// The catalogue.
    pub products: Products,
    /// Changes of it.
    pub changes: ProductChanges,
    /// The cache in front of it.
    pub documents: Arc<DocumentCache>,
    /// Up to where users may know of changes, if there is a replica.
    pub commits: Option<Commits>,
}
