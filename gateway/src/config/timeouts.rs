//! `[timeouts]`: timeouts of clients and instances.

use std::time::Duration;

use serde::Deserialize;

use crate::config::check::Check;

/// Longest timeout, in milliseconds: an hour.
const MOST_MS: u64 = 60 * 60 * 1_000;

/// Timeouts of a request.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Of clients.
    pub client: ClientTimeouts,
    /// Of instances.
    pub upstream: UpstreamTimeouts,
}

/// Timeouts of clients.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// For the whole header, from the start of the connection or the header's first byte.
    pub header: Duration,
    /// Until the first byte of the next request. Longer than the 60 s that Nginx keeps connections,
    /// so that the gateway never closes one that is about to be used.
    pub idle: Duration,
    /// For the body, from the end of the header.
    pub body: BodyPace,
    /// The same for a file that is uploaded.
    pub upload: BodyPace,
    /// For each write of a response. Pingora's default is none, which keeps the response in memory.
    pub write: Duration,
    /// Minimum read rate for responses other than streams, in bytes/s; `None`: only `write`
    /// applies.
    pub min_write_rate: Option<usize>,
}

/// Deadline of a body: `grace`, plus one second per `min_rate` bytes received (as `MinRate` of
/// Apache's mod_reqtimeout), at most `longest`. Its next bytes come within `silence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPace {
    /// For the first bytes.
    pub grace: Duration,
    /// In bytes/s; 0: any rate.
    pub min_rate: u64,
    /// For the whole body.
    pub longest: Duration,
    /// Between two reads, however much time is left: a client that was fast could else stop for
    /// minutes.
    pub silence: Duration,
}

impl BodyPace {
    /// Time left for the next read, after `bytes` were received in `elapsed`.
    pub fn left(&self, bytes: u64, elapsed: Duration) -> Duration {
        let earned = bytes.saturating_mul(1_000).checked_div(self.min_rate);
        let allowed =
            earned.map_or(self.longest, |ms| self.grace.saturating_add(Duration::from_millis(ms)));
        allowed.min(self.longest).saturating_sub(elapsed).min(self.silence)
    }
}

/// Timeouts of instances.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamTimeouts {
    /// For a connection; HAProxy's and Envoy's guides suggest 1 s within a network.
    pub connect: Duration,
    /// For each read of a response.
    pub response: Duration,
    /// For each write of a request.
    pub write: Duration,
    /// Maximum silence within a stream; the services send four heartbeats a minute.
    pub stream_idle: Duration,
    /// Keep-alive of idle connections: less than the services' 75 s, so that they never close one
    /// that is about to be used.
    pub idle: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    header_ms: u64,
    idle_ms: u64,
    body_ms: u64,
    body_grace_ms: u64,
    body_min_bytes_per_s: u64,
    upload_ms: u64,
    upload_silence_ms: u64,
    upload_min_bytes_per_s: u64,
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
            upload_ms: 1_800_000,
            upload_silence_ms: 15_000,
            upload_min_bytes_per_s: 32_768,
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
            check.require(
                (1..=MOST_MS).contains(&ms),
                setting,
                format_args!("must be 1 to {MOST_MS}"),
            );
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
                    silence: Duration::from_millis(self.body_ms),
                },
                upload: BodyPace {
                    grace: Duration::from_millis(self.body_grace_ms),
                    min_rate: self.upload_min_bytes_per_s,
                    longest: checked("[timeouts] upload_ms", self.upload_ms),
                    silence: checked("[timeouts] upload_silence_ms", self.upload_silence_ms),
                },
                write: checked("[timeouts] client_write_ms", self.client_write_ms),
                min_write_rate: usize::try_from(self.client_write_min_bytes_per_s)
                    .ok()
                    .filter(|rate| *rate > 0),
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
    fn a_body_gets_time_by_its_bytes_up_to_a_maximum() {
        let second = Duration::from_secs(1);
        let pace = BodyPace {
            grace: 10 * second,
            min_rate: 500,
            longest: 60 * second,
            silence: 60 * second,
        };
        assert_eq!(pace.left(0, Duration::ZERO), 10 * second);
        assert_eq!(
            pace.left(10, 10 * second),
            Duration::from_millis(20),
            "a byte a second is too slow"
        );
        assert_eq!(
            pace.left(5_000, 10 * second),
            10 * second,
            "a client at the minimum rate is not cut off"
        );
        assert_eq!(pace.left(1_000_000, 59 * second), second);
        assert_eq!(pace.left(u64::MAX, 61 * second), Duration::ZERO);
        assert_eq!(BodyPace { min_rate: 0, ..pace }.left(0, 10 * second), 50 * second);
        let pace = BodyPace { silence: 5 * second, ..pace };
        assert_eq!(pace.left(25_000, 10 * second), 5 * second, "a fast client may not stop");
        assert_eq!(pace.left(0, 8 * second), 2 * second);
    }
}
