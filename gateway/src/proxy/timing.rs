//! How long the parts of a request took, as `Server-Timing` tells browsers.

use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::request::RequestContext;

/// How long it took until the answer's header was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// From when the attempt that was answered began: a connection, if a new one was needed, and the instance's work.
    pub(super) upstream: Duration,
    /// The rest: the gateway's own work, and attempts that failed.
    pub(super) gateway: Duration,
}

impl Timing {
    /// The timing of a request whose answer's header has just come; `None` when no instance was asked.
    pub(super) fn of(ctx: &RequestContext) -> Option<Self> {
        let began = ctx.attempt.as_ref()?.began;
        let upstream = Instant::now().saturating_duration_since(began);
        Some(Self { upstream, gateway: began.saturating_duration_since(ctx.started) })
    }

    /// `gateway;dur=0.042, upstream;dur=1.500` and its likes, in milliseconds.
    pub(super) fn to_header(self) -> HeaderValue {
        let mut line = Line { bytes: [0; CAPACITY], length: 0 };
        line.push(b"gateway;dur=");
        line.push_milliseconds(self.gateway);
        line.push(b", upstream;dur=");
        line.push_milliseconds(self.upstream);
        HeaderValue::from_bytes(&line.bytes[..line.length]).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Room for both names and two of the longest numbers.
const CAPACITY: usize = 27 + 2 * DIGITS;
/// Of a number of microseconds, with its point.
const DIGITS: usize = 21;

/// A line without an allocation, and without the machinery of `fmt`, which would cost more than the digits.
struct Line {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    fn push_milliseconds(&mut self, duration: Duration) {
        let mut left = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let mut digits = [b'0'; DIGITS];
        let mut begin = DIGITS;
        // Three behind the point, and at least one before it.
        while left > 0 || begin > DIGITS - 5 {
            begin -= 1;
            if begin == DIGITS - 4 {
                digits[begin] = b'.';
                continue;
            }
            digits[begin] += (left % 10) as u8;
            left /= 10;
        }
        self.push(&digits[begin..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_milliseconds() {
        let told = |gateway, upstream| {
            let timing = Timing { gateway: Duration::from_micros(gateway), upstream: Duration::from_micros(upstream) };
            timing.to_header().to_str().expect("text").to_owned()
        };
        assert_eq!(told(42, 1_500), "gateway;dur=0.042, upstream;dur=1.500");
        assert_eq!(told(0, 999), "gateway;dur=0.000, upstream;dur=0.999");
        assert_eq!(told(1_000, 60_012_345), "gateway;dur=1.000, upstream;dur=60012.345");
        let longest = Timing { gateway: Duration::MAX, upstream: Duration::MAX }.to_header();
        assert!(longest.to_str().expect("text").ends_with("dur=18446744073709551.615"));
    }
}
