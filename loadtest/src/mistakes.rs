//! Operator mistakes that the control plane must reject or tolerate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use local_stack::{Control, StackError};
use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;

/// Limit for a drain with a deadline of 0.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of checks of an instance's state.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Adds an instance of the stateless service to the stateful pool.
///
/// # Errors
/// When the gateway accepts it (it is removed again), or cannot be reached.
pub(crate) async fn add_wrong_instance(control: &Control, stateless: SocketAddr) -> Result<()> {
    match control.add(PoolName::Stateful, stateless).await {
        // The status of `wrong_instance`; an unreachable gateway is not a rejection.
        Err(StackError::Control(rejection)) if rejection.starts_with("422") => Ok(()),
        Err(error) => Err(error).context("cannot try to add a wrong instance"),
        Ok(()) => {
            control.remove(PoolName::Stateful, &stateless.to_string()).await?;
            bail!("the stateful pool accepted {stateless}, an instance of the stateless service")
        }
    }
}

/// Drains an instance of the stateful pool, then drains it again.
///
/// # Errors
/// When the second drain ends the first, or the control plane fails.
pub(crate) async fn drain_again(control: &Control, name: &str) -> Result<()> {
    control.drain(PoolName::Stateful, name, 0).await?;
    let begin = Instant::now();
    while !is_drained(control, name).await? {
        ensure!(
            begin.elapsed() < DRAIN_TIMEOUT,
            "{name} is not drained after {} s",
            DRAIN_TIMEOUT.as_secs()
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    control.drain(PoolName::Stateful, name, 30).await?;
    ensure!(is_drained(control, name).await?, "draining {name} again ended its drain");
    Ok(())
}

/// Ends the drain of an instance that must still be drained.
///
/// # Errors
/// When it is no longer drained, or the control plane fails.
pub(crate) async fn undrain(control: &Control, name: &str) -> Result<()> {
    ensure!(is_drained(control, name).await?, "{name} is no longer drained");
    Ok(control.undrain(PoolName::Stateful, name).await?)
}

async fn is_drained(control: &Control, name: &str) -> Result<bool> {
    let pool = control.pool(PoolName::Stateful).await?;
    let mut named = pool
        .instances
        .iter()
        .filter(|instance| instance.name.as_ref().is_some_and(|n| n.as_str() == name));
    Ok(named.any(|instance| instance.state == InstanceState::Drained))
}
