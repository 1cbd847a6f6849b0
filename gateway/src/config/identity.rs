//! What a gateway is to instances.

use proto_contracts::DeploymentName;
use secrecy::SecretString;

/// What a gateway is to instances.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// What they want to see of a gateway that drains them.
    pub instance_token: Option<SecretString>,
    /// The deployment that it belongs to.
    pub deployment: Option<DeploymentName>,
}
