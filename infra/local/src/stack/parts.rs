//! The table of a running stack's components.

use std::sync::Arc;

use proto_contracts::PoolName;
use proto_contracts::agent::ComponentState;

use super::Stack;
use super::part::Part;
use crate::component::Component;
use crate::error::StackError;
use crate::gateway::Control;
use crate::process::{Process, lock};

impl Stack {
    /// The component of that name.
    pub(super) fn find(&self, name: &str) -> Result<Component, StackError> {
        let parts = lock(&self.parts);
        match name.parse() {
            Ok(component) if parts.contains_key(&component) => Ok(component),
            _ => {
                let known = parts.keys().map(ToString::to_string).collect();
                Err(StackError::NoSuchComponent { name: name.to_owned(), known })
            }
        }
    }

    /// All components, in the order in which they start.
    pub(super) fn components(&self) -> Vec<Component> {
        lock(&self.parts).keys().copied().collect()
    }

    /// The process of a running or paused component.
    pub(super) fn running(&self, component: Component) -> Result<Arc<Process>, StackError> {
        let parts = lock(&self.parts);
        let part = parts.get(&component);
        let process =
            part.and_then(|part| part.process.as_ref()).filter(|process| process.exit().is_none());
        let state = part.map_or(ComponentState::Stopped, Part::state);
        process
            .cloned()
            .ok_or_else(|| StackError::WrongState { component: component.to_string(), state })
    }

    pub(super) fn runs(&self, component: Component) -> bool {
        self.running(component).is_ok()
    }

    /// The control APIs of the running gateways. Changes go to each; a stopped gateway is
    /// synchronized when it starts.
    pub(super) fn running_controls(&self) -> Vec<&Control> {
        let all =
            [(Component::Gateway, &self.control), (Component::SecondGateway, &self.second_control)];
        all.into_iter()
            .filter(|(gateway, _)| self.runs(*gateway))
            .map(|(_, control)| control)
            .collect()
    }

    pub(super) fn require_ended(&self, component: Component) -> Result<(), StackError> {
        match lock(&self.parts).get(&component).map_or(ComponentState::Stopped, Part::state) {
            ComponentState::Stopped | ComponentState::Killed | ComponentState::Died => Ok(()),
            state => Err(StackError::WrongState { component: component.to_string(), state }),
        }
    }

    pub(super) fn port_of(&self, component: Component) -> u16 {
        lock(&self.parts).get(&component).map_or(0, |part| part.port)
    }

    pub(super) fn update(&self, component: Component, change: impl FnOnce(&mut Part)) {
        if let Some(part) = lock(&self.parts).get_mut(&component) {
            change(part);
        }
    }

    /// All instances with their pools and ports, running or not.
    pub(super) fn members(&self) -> Vec<(Component, PoolName, u16)> {
        let parts = lock(&self.parts);
        parts
            .iter()
            .filter_map(|(&component, part)| Some((component, component.pool()?, part.port)))
            .collect()
    }
}
