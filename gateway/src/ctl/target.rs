//! The instance that a command names.

use clap::Args;
use proto_contracts::PoolName;
use proto_contracts::control::{Instance, Pool, Pools};

use crate::ctl::client::Client;
use crate::ctl::error::CtlError;
use crate::ctl::show;

/// An instance that is there.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Its name, or its address.
    pub(super) name: String,
    /// Its pool, if both pools have an instance of that name.
    #[arg(long)]
    pool: Option<PoolName>,
}

impl Target {
    /// The path of the instance.
    pub(super) async fn find(&self, client: &Client) -> Result<String, CtlError> {
        let pools: Pools = client.get("pools").await?;
        let candidates = pools.pools.iter().filter(|pool| self.is_in(pool));
        let having: Vec<&Pool> = candidates.filter(|pool| self.of(pool).is_some()).collect();
        match having[..] {
            [pool] => Ok(format!("pools/{}/instances/{}", pool.name, self.name)),
            [] => Err(CtlError::UnknownInstance {
                name: self.name.clone(),
                known: show::labels(&pools),
            }),
            _ => Err(CtlError::Ambiguous { name: self.name.clone() }),
        }
    }

    /// Whether it may be in this pool.
    pub(super) fn is_in(&self, pool: &Pool) -> bool {
        self.pool.is_none_or(|pool_name| pool_name == pool.name)
    }

    /// The instance in this pool.
    pub(super) fn of<'a>(&self, pool: &'a Pool) -> Option<&'a Instance> {
        let addr = self.name.parse().ok();
        pool.instances.iter().find(|instance| {
            instance.name.as_ref().is_some_and(|name| name.as_str() == self.name)
                || Some(instance.addr) == addr
        })
    }
}
