//! The `Server-Timing` header.

use std::time::{Duration, Instant};

use crate::request::RequestContext;

/// The time until the response header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the start of the last attempt, including the connection.
    pub upstream: Duration,
    /// Before it: the gateway's work and failed attempts.
    pub gateway: Duration,
}

impl Timing {
    /// The timing when the response header arrives; `None` without an attempt.
    pub fn of(ctx: &RequestContext, now: Instant) -> Option<Self> {
        let began = ctx.attempt.as_ref()?.began;
        let upstream = now.saturating_duration_since(began);
        Some(Self { upstream, gateway: began.saturating_duration_since(ctx.started) })
    }

    /// Such as `gateway;dur=0.042, upstream;dur=1.500`, in milliseconds.
    pub fn to_ascii(self) -> Line {
        let mut line = Line { bytes: [0; CAPACITY], length: 0 };
        line.push(b"gateway;dur=");
        line.push_milliseconds(self.gateway);
        line.push(b", upstream;dur=");
        line.push_milliseconds(self.upstream);
        line
    }
}

/// Both names and two of the longest numbers.
const CAPACITY: usize = 27 + 2 * DIGITS;
/// Digits of a number of microseconds, with its point.
const DIGITS: usize = 21;

/// A buffer without allocation; `fmt` would cost more than the digits.
pub struct Line {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
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
        // Three digits after the point, at least one before it.
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
    fn times_are_in_milliseconds() {
        let header = |gateway, upstream| {
            let timing = Timing {
                gateway: Duration::from_micros(gateway),
                upstream: Duration::from_micros(upstream),
            };
            String::from_utf8(timing.to_ascii().as_ref().to_vec()).expect("text")
        };
        assert_eq!(header(42, 1_500), "gateway;dur=0.042, upstream;dur=1.500");
        assert_eq!(header(0, 999), "gateway;dur=0.000, upstream;dur=0.999");
        assert_eq!(header(1_000, 60_012_345), "gateway;dur=1.000, upstream;dur=60012.345");
        let longest = Timing { gateway: Duration::MAX, upstream: Duration::MAX }.to_ascii();
        assert!(longest.as_ref().ends_with(b"dur=18446744073709551.615"));
    }
}
