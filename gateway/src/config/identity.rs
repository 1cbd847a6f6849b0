//! How a gateway reaches instances, and identifies itself to them.

use std::collections::BTreeMap;

use proto_contracts::{DeploymentName, PoolName};
use secrecy::SecretString;

use crate::config::upstream_tls::UpstreamTls;

/// How a gateway reaches instances, and identifies itself to them.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Authorizes drain and weight requests.
    pub instance_token: Option<SecretString>,
    /// Its deployment.
    pub deployment: Option<DeploymentName>,
    /// TLS to the instances of a pool; without an entry there is none.
    pub tls: BTreeMap<PoolName, UpstreamTls>,
}
