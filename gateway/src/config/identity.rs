//! How a gateway identifies itself to instances.

use proto_contracts::DeploymentName;
use secrecy::SecretString;

/// How a gateway identifies itself to instances.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Authorizes drain and weight requests.
    pub instance_token: Option<SecretString>,
    /// Its deployment.
    pub deployment: Option<DeploymentName>,
}
