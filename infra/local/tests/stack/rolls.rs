//! Drains and rolling restarts of real instances: a drain lasts until it is ended, and a roll ends
//! its own.

use anyhow::{Context, Result};
use local_stack::{Stack, Store};
use proto_contracts::PoolName;
use proto_contracts::control::{Instance, InstanceState, Pool};

async fn pool(stack: &Stack) -> Result<Pool> {
    Ok(stack.control().pool(PoolName::Stateful).await?)
}

async fn instance(stack: &Stack, name: &str) -> Result<Instance> {
    let named =
        |instance: &Instance| instance.name.as_ref().is_some_and(|known| known.as_str() == name);
    pool(stack)
        .await?
        .instances
        .into_iter()
        .find(named)
        .with_context(|| format!("{name} is listed"))
}

#[tokio::test]
async fn a_drain_outlasts_restarts_and_a_roll_ends_its_own() -> Result<()> {
    let stack = Stack::for_tests().stateful(2).store(Store::Memory).start().await?;
    let epoch = pool(&stack).await?.epoch;
    stack.roll("stateful-2").await?;
    let rolled = instance(&stack, "stateful-2").await?;
    assert_eq!((rolled.state, rolled.drain), (InstanceState::Healthy, None));
    assert_eq!(pool(&stack).await?.epoch, epoch, "it has its keys back");

    stack.control().drain(PoolName::Stateful, "stateful-2", 0).await?;
    stack.control().drain(PoolName::Stateful, "stateful-2", 600).await?;
    assert_eq!(
        instance(&stack, "stateful-2").await?.state,
        InstanceState::Drained,
        "repeated, it stays drained"
    );
    stack.kill("stateful-2").await?;
    stack.start_component("stateful-2").await?;
    assert_eq!(
        instance(&stack, "stateful-2").await?.state,
        InstanceState::Drained,
        "so does a new process"
    );
    let refused =
        stack.control().drain(PoolName::Stateful, "stateful-1", 0).await.expect_err("the last");
    assert!(refused.to_string().contains("stateful-2 is drained"), "{refused}");
    let refused = stack.roll("stateful-1").await.expect_err("the last");
    assert!(refused.to_string().contains("its requests would fail with 503"), "{refused}");
    let refused =
        stack.control().remove(PoolName::Stateful, "stateful-1").await.expect_err("the last");
    assert!(refused.to_string().contains("removing stateful-1"), "{refused}");

    stack.control().undrain(PoolName::Stateful, "stateful-2").await?;
    assert_eq!(instance(&stack, "stateful-2").await?.state, InstanceState::Healthy);
    assert_eq!(pool(&stack).await?.epoch, epoch);
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn an_instance_of_the_other_service_is_rejected() -> Result<()> {
    let stack = Stack::for_tests().stateless(1).stateful(2).store(Store::Memory).start().await?;
    let stateless = stack.control().pool(PoolName::Stateless).await?.instances[0].clone();
    assert!(stateless.version.is_some(), "it names its version");
    let refused =
        stack.control().add(PoolName::Stateful, stateless.addr).await.expect_err("refused");
    assert!(refused.to_string().contains("Add it to the stateless pool"), "{refused}");
    let data_port = stack
        .control()
        .add(PoolName::Stateful, stack.addr_of("gateway")?)
        .await
        .expect_err("refused");
    assert!(data_port.to_string().contains("it is not an instance"), "{data_port}");
    assert_eq!(pool(&stack).await?.instances.len(), 2);
    stack.shutdown().await;
    Ok(())
}
