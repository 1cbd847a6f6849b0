//! The event stream of the control API.

mod sampler;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use proto_contracts::PoolName;
use proto_contracts::control::{Event, Routed};
use tokio::sync::broadcast;

use sampler::Sampler;

/// Events that a subscriber may lag behind before it misses some.
const BACKLOG: usize = 1_024;
/// Default rate of sampled requests per pool.
const SAMPLE_PER_S: u32 = 50;

/// Publishes events. Clones share their subscribers.
#[derive(Clone, Debug)]
pub struct Events(Arc<Hub>);

/// An event, and its text for the streams, which all get the same.
#[derive(Debug)]
pub struct Published {
    event: Event,
    text: OnceLock<String>,
}

impl Published {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The text, which `write` creates for the first stream that sends the event.
    pub fn text(&self, write: impl FnOnce(&Event) -> String) -> &str {
        self.text.get_or_init(|| write(&self.event))
    }
}

#[derive(Debug)]
struct Hub {
    sender: broadcast::Sender<Arc<Published>>,
    /// Number of subscribers to requests. An atomic, because the data path reads it for every
    /// request.
    request_subscribers: AtomicUsize,
    samplers: [Sampler; PoolName::ALL.len()],
    begin: Instant,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(SAMPLE_PER_S)
    }
}

impl Events {
    /// A stream with this rate of sampled requests per pool.
    pub fn new(sample_per_s: u32) -> Self {
        Self(Arc::new(Hub {
            sender: broadcast::Sender::new(BACKLOG),
            request_subscribers: AtomicUsize::new(0),
            samplers: PoolName::ALL.map(|_| Sampler::new(sample_per_s)),
            begin: Instant::now(),
        }))
    }

    /// Publishes an event, which is created only if there are subscribers.
    pub fn publish(&self, event: impl FnOnce() -> Event) {
        if self.0.sender.receiver_count() > 0 {
            // The last subscriber may just have left.
            let published = Published { event: event(), text: OnceLock::new() };
            let _gone = self.0.sender.send(Arc::new(published));
        }
    }

    /// Publishes a finished request if it is sampled; `event` gets the sample weight.
    /// Without subscribers to requests it costs one relaxed load.
    pub fn publish_request(&self, pool: PoolName, now: Instant, event: impl FnOnce(u64) -> Routed) {
        if self.0.request_subscribers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let since_begin = now.saturating_duration_since(self.0.begin);
        if let Some(sample_weight) = self.0.samplers[pool as usize].take(since_begin) {
            self.publish(|| Event::Routed(event(sample_weight)));
        }
    }

    /// Subscribes. Requests are published only with a [subscription to
    /// requests](Self::subscribe_to_requests).
    pub fn listen(&self) -> broadcast::Receiver<Arc<Published>> {
        self.0.sender.subscribe()
    }

    /// Subscribes to requests until the value is dropped.
    pub fn subscribe_to_requests(&self) -> RequestSubscription {
        if self.0.request_subscribers.fetch_add(1, Ordering::Relaxed) == 0 {
            // Requests before the subscription must not count in its sample weights.
            self.0.samplers.iter().for_each(Sampler::forget);
        }
        RequestSubscription(self.clone())
    }
}

/// A subscription to requests.
#[derive(Debug)]
pub struct RequestSubscription(Events);

impl Drop for RequestSubscription {
    fn drop(&mut self) {
        self.0.0.request_subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::control::Strategy;

    use super::*;

    #[test]
    fn an_event_is_created_only_for_subscribers() {
        let events = Events::default();
        events.publish(|| unreachable!("there is no subscriber"));
        let mut listener = events.listen();
        let switched =
            Event::StrategyChanged { pool: PoolName::Stateful, strategy: Strategy::Sticky };
        events.publish(|| switched.clone());
        let published = listener.try_recv().expect("published");
        assert_eq!(published.event(), &switched);
    }

    #[test]
    fn requests_are_published_only_to_their_subscribers() {
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
        assert!(listener.try_recv().is_err(), "there is no subscription");
        let wanted = events.subscribe_to_requests();
        request(&events);
        let published = listener.try_recv().expect("published");
        let event = published.event();
        assert!(matches!(event, Event::Routed(Routed { sample_weight: 1, .. })), "{event:?}");
        drop(wanted);
        request(&events);
        assert!(listener.try_recv().is_err(), "the subscription ended");
    }
}
