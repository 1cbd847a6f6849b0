//! Scaling a pool of a running stack.

use futures_util::future::{join_all, try_join_all};
use proto_contracts::PoolName;

use super::Stack;
use super::part::{Part, Requested};
use crate::component::Component;
use crate::error::StackError;
use crate::ports::loopback;
use crate::process::lock;
use crate::topology::Extent;

impl Stack {
    /// Scales a pool. New instances are started, registered at the gateway and healthy there when
    /// this returns. Those with the highest numbers are removed first: at the gateway, then
    /// stopped.
    ///
    /// Stopped instances count too: they belong to the pool until it is scaled down.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] for a stack without services, [`StackError::TooManyInstances`],
    /// why an instance could not be started, or why the gateway rejected it.
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
            // Check all before starting the first.
            new.iter()
                .try_for_each(|&number| self.settings.ports.instance(pool, number).map(drop))?;
            try_join_all(new.into_iter().map(|number| self.add(pool, number))).await?;
        } else {
            let surplus = numbers.into_iter().skip(usize::from(instances));
            // The caller confirmed zero instances; without force the gateway keeps the last one.
            let force = instances == 0;
            let gone = join_all(
                surplus.map(|number| self.remove(Component::Instance(pool, number), pool, force)),
            )
            .await;
            gone.into_iter().collect::<Result<(), _>>()?;
        }
        self.update_scrape_targets()
    }

    async fn add(&self, pool: PoolName, number: u16) -> Result<(), StackError> {
        let component = Component::Instance(pool, number);
        let port = self.settings.ports.instance(pool, number)?;
        lock(&self.parts)
            .insert(component, Part { port, process: None, requested: Requested::Stopped });
        let added = async {
            self.require_free_ports(component)?;
            self.launch(component).await?;
            for control in self.running_controls() {
                control.add(pool, loopback(port)).await?;
            }
            self.await_instance_healthy(component).await
        };
        let added = added.await;
        if added.is_err() {
            // A failed addition must not appear in the status.
            self.end(component).await;
            lock(&self.parts).remove(&component);
        }
        added
    }

    async fn remove(
        &self,
        component: Component,
        pool: PoolName,
        force: bool,
    ) -> Result<(), StackError> {
        let mut controls = self.running_controls();
        if controls.is_empty() && self.settings.extent >= Extent::Gateway {
            // Fails as unreachable: no instance may go while a gateway still lists it.
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
