//! What happens in the gateway, told to whoever listens: the control API's stream of events.

mod sampler;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proto_contracts::PoolName;
use proto_contracts::control::{Event, Routed};
use tokio::sync::broadcast;

use sampler::Sampler;

/// How many events a listener may be behind before it misses some, and is told so.
const BACKLOG: usize = 1_024;
/// How many requests of each pool are told a second, unless the configuration says otherwise.
const SAMPLE_PER_S: u32 = 50;

/// Tells what happens. Cheap to clone; the clones tell the same listeners.
#[derive(Clone, Debug)]
pub struct Events(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    sender: broadcast::Sender<Event>,
    /// How many listeners want to hear of requests. The data path looks at it for every request, so it is no lock.
    want_requests: AtomicUsize,
    samplers: [Sampler; PoolName::ALL.len()],
    begin: Instant,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(SAMPLE_PER_S)
    }
}

impl Events {
    /// Tells of so many requests of each pool a second, and of everything else.
    pub fn new(sample_per_s: u32) -> Self {
        Self(Arc::new(Hub {
            sender: broadcast::Sender::new(BACKLOG),
            want_requests: AtomicUsize::new(0),
            samplers: PoolName::ALL.map(|_| Sampler::new(sample_per_s)),
            begin: Instant::now(),
        }))
    }

    /// Tells everybody who listens; with nobody there it costs a look at a counter.
    pub fn publish(&self, event: impl FnOnce() -> Event) {
        if self.0.sender.receiver_count() > 0 {
            // The last listener may just have gone.
            let _gone = self.0.sender.send(event());
        }
    }

    /// Tells of a request that ended now, if it falls into the sample; `event` is given how many requests it stands for.
    /// While nobody wants to hear of requests it costs the data path one relaxed load.
    pub fn publish_request(&self, pool: PoolName, now: Instant, event: impl FnOnce(u64) -> Routed) {
        if self.0.want_requests.load(Ordering::Relaxed) == 0 {
            return;
        }
        let since_begin = now.saturating_duration_since(self.0.begin);
        if let Some(sample_weight) = self.0.samplers[pool as usize].take(since_begin) {
            self.publish(|| Event::Routed(event(sample_weight)));
        }
    }

    /// Listens from now on. Requests are told only while somebody [wants them](Self::want_requests).
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.sender.subscribe()
    }

    /// Has requests told for as long as the value lives.
    pub fn want_requests(&self) -> WantRequests {
        if self.0.want_requests.fetch_add(1, Ordering::Relaxed) == 0 {
            // What nobody was told of before is nothing to this listener.
            self.0.samplers.iter().for_each(Sampler::forget);
        }
        WantRequests(self.clone())
    }
}

/// Somebody wants to hear of requests.
#[derive(Debug)]
pub struct WantRequests(Events);

impl Drop for WantRequests {
    fn drop(&mut self) {
        self.0.0.want_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn requests_are_told_only_while_somebody_wants_them() {
        let events = Events::default();
        let mut listener = events.listen();
        let request = |events: &Events| {
            events.publish_request(PoolName::Stateless, Instant::now(), |sample_weight| Routed {
                pool: PoolName::Stateless,
                instance: None,
                verdict: None,
                strategy: None,
                key: None,
                epoch: None,
                method: "GET".into(),
                route: "/".into(),
                status: 200,
                duration_ms: 1.0,
                tried: Vec::new(),
                code: None,
                request_id: proto_contracts::RequestId::default(),
                sample_weight,
            });
        };
        request(&events);
        assert!(listener.try_recv().is_err(), "nobody wants it");
        let wanted = events.want_requests();
        request(&events);
        let told = listener.try_recv().expect("told");
        assert!(matches!(told, Event::Routed(Routed { sample_weight: 1, .. })), "{told:?}");
        drop(wanted);
        request(&events);
        assert!(listener.try_recv().is_err(), "nobody wants it any more");
    }
}
