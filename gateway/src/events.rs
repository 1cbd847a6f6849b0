//! What happens in the gateway, told to whoever listens: the control API's stream of events.

use proto_contracts::control::Event;
use tokio::sync::broadcast;

/// How many events a listener may be behind before it misses some, and is told so.
const BACKLOG: usize = 1_024;

/// Tells what happens. Cheap to clone; the clones tell the same listeners.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Events {
    /// Tells everybody who listens; with nobody there it costs a look at a counter.
    pub fn publish(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            // The last listener may just have gone.
            let _gone = self.0.send(event());
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::PoolName;
    use proto_contracts::control::Strategy;

    use super::*;

    #[test]
    fn an_event_is_made_only_for_listeners() {
        let events = Events::default();
        events.publish(|| unreachable!("nobody listens"));
        let mut listener = events.listen();
        let switched = Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::Sticky };
        events.publish(|| switched.clone());
        assert_eq!(listener.try_recv().ok(), Some(switched));
    }
}
