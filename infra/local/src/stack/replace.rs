//! One process takes the place of another without a failed request.

use std::sync::Arc;
use std::time::Duration;

use super::Stack;
use super::parts::Wanted;
use crate::component::Component;
use crate::error::{Attempt, LogTail, StackError};
use crate::process::Process;

/// How long an upgrade may take: the successor's checks, and the grace period of the one that it follows.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stack {
    /// Restarts an instance by a drain: its keys move away, it ends in order, and they come home when it is well again. A
    /// gateway is upgraded to the program as it is built now.
    ///
    /// # Errors
    /// [`StackError::WrongState`] when it does not run, else why it could not be drained, ended or started.
    pub async fn roll(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        if component.is_gateway() {
            return self.replace_gateway(component).await;
        }
        let Some(pool) = component.pool() else {
            let cure = format!("`make stop i={component}` and `make start i={component}` restart it");
            return Err(StackError::NotForThis { component: component.to_string(), done: "rolled", cure });
        };
        self.running(component)?;
        // One gateway is enough: the instance tells the others.
        if let Some(control) = self.running_controls().first() {
            control.drain(pool, name, 0).await?;
        }
        // It tells that it leaves, and serves on until every gateway knows.
        self.end(component).await;
        self.launch(component).await?;
        // A drain outlasts a restart of the instance, so its end is a step of its own.
        if let Some(control) = self.running_controls().first() {
            control.undrain(pool, name).await?;
        }
        self.await_member(component).await
    }

    /// Has a new process of the gateway take the place of the one that runs, with its listeners. Returns when the old one has
    /// ended.
    ///
    /// # Errors
    /// [`StackError::NotPlanned`] for another component, [`StackError::WrongState`] when it does not run, or
    /// [`StackError::Died`] when the new process fails; then the old one goes on.
    pub async fn upgrade(&self, name: &str) -> Result<(), StackError> {
        let _change = self.changes.lock().await;
        let component = self.find(name)?;
        if !component.is_gateway() {
            let cure =
                format!("only a gateway hands over to a new process; `make roll i={component}` restarts an instance");
            return Err(StackError::NotForThis { component: component.to_string(), done: "upgraded", cure });
        }
        self.replace_gateway(component).await
    }

    async fn replace_gateway(&self, component: Component) -> Result<(), StackError> {
        let old = self.running(component)?;
        let mut launch = self.prepare(component).await?;
        launch.args.push("--upgrade".into());
        let successor = Process::start(&self.settings.shim, &launch).await.attempt(|| format!("start {component}"))?;
        let successor = Arc::new(successor);
        let failed = |exit: String| {
            let tail = LogTail::of(launch.log.clone());
            Err(StackError::Died { component: component.to_string(), exit, tail })
        };
        tokio::select! {
            _ = old.ended() => {}
            exit = successor.ended() => return failed(exit.map_or_else(String::new, |exit| exit.to_string())),
            () = tokio::time::sleep(PATIENCE) => return failed(format!("the old one runs after {} s", PATIENCE.as_secs())),
        }
        self.update(component, |part| {
            part.process = Some(Arc::clone(&successor));
            part.wanted = Wanted::Running;
        });
        self.agree_with(component).await?;
        self.tell(&format!("{component} was upgraded: process {} follows {}", successor.pid(), old.pid()));
        Ok(())
    }
}
