//! More and fewer instances of a pool while the stack runs.

use futures_util::future::{join_all, try_join_all};
use proto_contracts::PoolName;

use super::Stack;
use super::parts::{Part, Wanted};
use crate::component::Component;
use crate::error::StackError;
use crate::plan::Extent;
use crate::ports::loopback;
use crate::process::lock;

impl Stack {
    /// Gives a pool that many instances. New ones are started, registered at the gateway and healthy there when this
    /// returns; those with the highest numbers go first, removed at the gateway before they are ended.
    ///
    /// Instances that don't run count too: they are members until they are scaled away.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] for a stack without services, [`StackError::TooManyInstances`], why an instance
    /// could not be started, or why the gateway did not take it.
    pub async fn scale(&self, pool: PoolName, instances: u16) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        if self.settings.extent < Extent::Services {
            return Err(StackError::NotPlanned("services"));
        }
        let numbers: Vec<u16> = self.numbers(pool);
        let count = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
        if count < instances {
            let missing = (1..=u16::MAX).filter(|number| !numbers.contains(number));
            let new: Vec<u16> = missing.take(usize::from(instances - count)).collect();
            // Too many is no reason to start some.
            new.iter().try_for_each(|&number| self.settings.ports.instance(pool, number).map(drop))?;
            try_join_all(new.into_iter().map(|number| self.add(pool, number))).await?;
        } else {
            let surplus = numbers.into_iter().skip(usize::from(instances));
            // Whoever wants none was warned; the gateway would keep the last one.
            let force = instances == 0;
            let gone =
                join_all(surplus.map(|number| self.remove(Component::Instance(pool, number), pool, force))).await;
            gone.into_iter().collect::<Result<(), _>>()?;
        }
        self.tell_prometheus()
    }

    async fn add(&self, pool: PoolName, number: u16) -> Result<(), StackError> {
        let component = Component::Instance(pool, number);
        let port = self.settings.ports.instance(pool, number)?;
        lock(&self.parts).insert(component, Part { port, process: None, wanted: Wanted::Stopped });
        let added = async {
            self.require_free_ports(component)?;
            self.launch(component).await?;
            for control in self.running_controls() {
                control.add(pool, loopback(port)).await?;
            }
            self.await_member(component).await
        };
        let added = added.await;
        if added.is_err() {
            // What could not be added is no member that a status should show.
            self.end(component).await;
            lock(&self.parts).remove(&component);
        }
        added
    }

    async fn remove(&self, component: Component, pool: PoolName, force: bool) -> Result<(), StackError> {
        let mut controls = self.running_controls();
        if controls.is_empty() && self.settings.extent >= Extent::Gateway {
            // Nothing is taken away behind a gateway's back: this one says that it cannot be reached.
            controls.push(&self.control);
        }
        for control in controls {
            match force {
                true => control.remove_address(pool, &component.to_string()).await?,
                false => control.remove(pool, &component.to_string()).await?,
            }
        }
        self.end(component).await;
        lock(&self.parts).remove(&component);
        Ok(())
    }

    /// The numbers of a pool's instances, lowest first.
    fn numbers(&self, pool: PoolName) -> Vec<u16> {
        let of_pool = |component| match component {
            Component::Instance(of, number) if of == pool => Some(number),
            _ => None,
        };
        self.components().into_iter().filter_map(of_pool).collect()
    }
}
