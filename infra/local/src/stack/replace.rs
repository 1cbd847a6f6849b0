//! Replacing a process without a failed request: rolling restart and hot restart.

use std::sync::Arc;
use std::time::Duration;

use super::Stack;
use super::part::Requested;
use crate::component::Component;
use crate::error::{Attempt, LogTail, StackError};
use crate::process::Process;

/// Limit for a hot restart: the new process's checks and the old one's grace period.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(60);

impl Stack {
    /// Drains an instance, restarts it and ends the drain; its keys move away and return. A gateway
    /// is upgraded to the current build.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run, else why it could not be drained, ended or
    /// started.
    pub async fn roll(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        if component.is_gateway() {
            return self.replace_gateway(component).await;
        }
        let Some(pool) = component.pool() else {
            let cure =
                format!("`make stop i={component}` and `make start i={component}` restart it");
            return Err(StackError::Unsupported {
                component: component.to_string(),
                done: "rolled",
                cure,
            });
        };
        self.running(component)?;
        // One gateway is enough: the instance announces its drain to the others.
        if let Some(control) = self.running_controls().first() {
            control.drain(pool, name, 0).await?;
        }
        // Its pre-stop delay gives every gateway time to notice.
        self.end(component).await;
        self.launch(component).await?;
        // A drain outlasts the restart, so it is ended explicitly.
        if let Some(control) = self.running_controls().first() {
            control.undrain(pool, name).await?;
        }
        self.await_instance_healthy(component).await
    }

    /// Hot restart of a gateway: a new process takes over the listeners. Returns when the old one
    /// has exited.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] for another component, [`StackError::WrongState`] when it does
    /// not run, or [`StackError::Died`] when the new process fails; then the old one keeps serving.
    pub async fn upgrade(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        if !component.is_gateway() {
            let cure = format!(
                "only a gateway supports hot restart; for an instance use `make roll i={component}`"
            );
            return Err(StackError::Unsupported {
                component: component.to_string(),
                done: "upgraded",
                cure,
            });
        }
        self.replace_gateway(component).await
    }

    async fn replace_gateway(&self, component: Component) -> Result<(), StackError> {
        let old = self.running(component)?;
        let mut launch = self.prepare(component).await?;
        launch.args.push("--upgrade".into());
        let new = Process::start(&self.settings.shim, &launch)
            .await
            .attempt(|| format!("start {component}"))?;
        let new = Arc::new(new);
        let failed = |exit: String| {
            let tail = LogTail::of(launch.log.clone());
            Err(StackError::Died { component: component.to_string(), exit, tail })
        };
        tokio::select! {
            _ = old.ended() => {}
            exit = new.ended() => {
                return failed(exit.map_or_else(String::new, |exit| exit.to_string()));
            }
            () = tokio::time::sleep(UPGRADE_TIMEOUT) => {
                let limit = UPGRADE_TIMEOUT.as_secs();
                return failed(format!("the old process still runs after {limit} s"));
            }
        }
        self.update(component, |part| {
            part.process = Some(Arc::clone(&new));
            part.requested = Requested::Running;
        });
        self.sync_gateway(component).await?;
        self.report(&format!(
            "{component} was upgraded: process {} replaces {}",
            new.pid(),
            old.pid()
        ));
        Ok(())
    }
}
