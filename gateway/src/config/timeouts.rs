//! `[timeouts]`: how long each step of a request may take.

use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use proto_contracts::Endpoint;
use serde::Deserialize;

use crate::config::check::Check;

/// The longest that any may be set to, in milliseconds: an hour.
const MOST_MS: u64 = 60 * 60 * 1_000;

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// What clients are given.
    pub client: ClientTimeouts,
    /// What instances are given.
    pub upstream: UpstreamTimeouts,
}

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// For the whole header of a request, from the connection's first moment or the header's first byte.
    pub header: Duration,
    /// For the first byte of a further request. Longer than the 60 s for which Nginx keeps its connections, so that the
    /// gateway never closes one that is about to be used.
    pub idle: Duration,
    /// For the body of a request, from the end of its header.
    pub body: BodyPace,
    /// For accepting a piece of a response; by default Pingora would wait for ever, and hold what an instance has sent
    /// already.
    pub write: Duration,
    /// How fast a client must accept a response that is no stream, in bytes a second; `None`: `write` alone counts.
    pub min_write_rate: Option<usize>,
}

/// How fast a body must arrive: within `grace`, and a second more for each `min_rate` bytes that have come
/// (as `MinRate` of Apache's mod_reqtimeout), and within `longest` whatever its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPace {
    /// For the first bytes.
    pub grace: Duration,
    /// In bytes a second; 0 for any rate.
    pub min_rate: u64,
    /// For all of it.
    pub longest: Duration,
}

impl BodyPace {
    /// How long the next piece may take, of a body of which so many bytes have come in this time.
    pub fn left(&self, bytes: u64, elapsed: Duration) -> Duration {
        let earned = bytes.saturating_mul(1_000).checked_div(self.min_rate);
        let allowed = earned.map_or(self.longest, |ms| self.grace.saturating_add(Duration::from_millis(ms)));
        allowed.min(self.longest).saturating_sub(elapsed)
    }
}

/// How long instances may take.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamTimeouts {
    /// For a connection (the field's default on one network, in HAProxy's and Envoy's guides, is 1 s).
    pub connect: Duration,
    /// For each read of an answer.
    pub response: Duration,
    /// For accepting a piece of a request.
    pub write: Duration,
    /// For the silence within a stream: long after the services' heartbeats, of which there are four in a minute.
    pub stream_idle: Duration,
    /// For which an idle connection is kept: less than the 75 s for which the services keep it, so that they never close
    /// one that is about to be used.
    pub idle: Duration,
}

impl UpstreamTimeouts {
    /// Holds the exchange with this peer to them. `body_left` is how long the rest of the client's body may still take:
    /// Pingora waits for the response from the beginning, and the instance cannot respond before it has the whole request.
    pub fn apply(&self, peer: &mut HttpPeer, endpoint: Endpoint, body_left: Duration) {
        let options = &mut peer.options;
        options.connection_timeout = Some(self.connect);
        options.read_timeout = Some(if endpoint.is_stream() { self.stream_idle } else { self.response + body_left });
        options.write_timeout = Some(self.write);
        options.idle_timeout = Some(self.idle);
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    header_ms: u64,
    idle_ms: u64,
    body_ms: u64,
    body_grace_ms: u64,
    body_min_bytes_per_s: u64,
    client_write_ms: u64,
    client_write_min_bytes_per_s: u64,
    upstream_connect_ms: u64,
    upstream_response_ms: u64,
    upstream_write_ms: u64,
    upstream_idle_ms: u64,
    stream_idle_ms: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            header_ms: 10_000,
            idle_ms: 75_000,
            body_ms: 60_000,
            body_grace_ms: 10_000,
            body_min_bytes_per_s: 500,
            client_write_ms: 60_000,
            client_write_min_bytes_per_s: 4_096,
            upstream_connect_ms: 1_000,
            upstream_response_ms: 15_000,
            upstream_write_ms: 15_000,
            upstream_idle_ms: 50_000,
            stream_idle_ms: 300_000,
        }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Timeouts {
        let mut checked = |setting: &str, ms: u64| {
            check.unless((1..=MOST_MS).contains(&ms), setting, format_args!("must be 1 to {MOST_MS}"));
            Duration::from_millis(ms)
        };
        Timeouts {
            client: ClientTimeouts {
                header: checked("[timeouts] header_ms", self.header_ms),
                idle: checked("[timeouts] idle_ms", self.idle_ms),
                body: BodyPace {
                    grace: checked("[timeouts] body_grace_ms", self.body_grace_ms),
                    min_rate: self.body_min_bytes_per_s,
                    longest: checked("[timeouts] body_ms", self.body_ms),
                },
                write: checked("[timeouts] client_write_ms", self.client_write_ms),
                min_write_rate: usize::try_from(self.client_write_min_bytes_per_s).ok().filter(|rate| *rate > 0),
            },
            upstream: UpstreamTimeouts {
                connect: checked("[timeouts] upstream_connect_ms", self.upstream_connect_ms),
                response: checked("[timeouts] upstream_response_ms", self.upstream_response_ms),
                write: checked("[timeouts] upstream_write_ms", self.upstream_write_ms),
                stream_idle: checked("[timeouts] stream_idle_ms", self.stream_idle_ms),
                idle: checked("[timeouts] upstream_idle_ms", self.upstream_idle_ms),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_earns_time_by_its_bytes_and_never_more_than_the_whole_may_take() {
        let second = Duration::from_secs(1);
        let pace = BodyPace { grace: 10 * second, min_rate: 500, longest: 60 * second };
        assert_eq!(pace.left(0, Duration::ZERO), 10 * second);
        assert_eq!(pace.left(10, 10 * second), Duration::from_millis(20), "a byte a second is too slow");
        assert_eq!(pace.left(5_000, 10 * second), 10 * second, "who sends at the rate may go on");
        assert_eq!(pace.left(1_000_000, 59 * second), second);
        assert_eq!(pace.left(u64::MAX, 61 * second), Duration::ZERO);
        assert_eq!(BodyPace { min_rate: 0, ..pace }.left(0, 10 * second), 50 * second);
    }
}
