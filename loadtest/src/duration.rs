//! Durations on the command line.

use std::time::Duration;

use jiff::SignedDuration;

/// Parses `90s`, `2m`, `1m 30s`, or a number of seconds.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let in_seconds = text.parse().map(Duration::from_secs).ok();
    let time = in_seconds.or_else(|| text.parse::<SignedDuration>().ok()?.try_into().ok());
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "write a time such as 90s, 2m or 1m 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        for (text, seconds) in [("8", 8), ("8s", 8), ("2m", 120), ("1m 30s", 90)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "-1s", "soon", "8 parsecs"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
