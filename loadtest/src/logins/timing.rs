//! Whether a rejected login shows by its latency that a user exists.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::{HeaderName, HeaderValue, StatusCode};
use proto_contracts::Endpoint;
use proto_contracts::headers::FORWARDED_FOR;
use serde::Serialize;
use serde_json::json;

use super::subject::USERNAME;
use crate::client::Client;
use crate::request;
use crate::target::Target;

/// The latencies of both kinds, milliseconds, and the difference within pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Pairs.
    pub pairs: usize,
    /// Median with an unknown username.
    pub unknown_ms: f64,
    /// Median with a wrong password.
    pub wrong_ms: f64,
    /// Median of the differences: unknown minus wrong.
    pub difference_ms: f64,
    /// The interval that holds the true median with 99 % confidence.
    pub interval_ms: (f64, f64),
}

impl Timing {
    /// Whether no difference is proven.
    pub fn is_within_noise(&self) -> bool {
        self.interval_ms.0 <= 0.0 && 0.0 <= self.interval_ms.1
    }
}

/// Alternates both kinds at one instance, without the gateway's noise.
pub(super) async fn measure(instance: &Arc<Target>, pairs: u16) -> Result<Timing> {
    let mut client = Client::new(Arc::clone(instance));
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for number in 0..pairs {
        // Whoever comes first in a pair alternates, so that drift shows in neither.
        let kinds = if number % 2 == 0 { [true, false] } else { [false, true] };
        for is_unknown in kinds {
            let username = if is_unknown { "no-such-user" } else { USERNAME };
            let took = rejected(&mut client, username, number).await?;
            if is_unknown { unknown.push(took) } else { wrong.push(took) }
        }
    }
    Ok(compare(&unknown, &wrong))
}

/// The latency of a rejected login. Each pair has an address of its own, as failures from one must
/// wait.
async fn rejected(client: &mut Client, username: &str, number: u16) -> Result<Duration> {
    let login = json!({"username": username, "password": "not the password"});
    let mut request = request::post(Endpoint::Login.templates().canonical, &login);
    let [high, low] = number.to_be_bytes();
    let address = HeaderValue::from_str(&Ipv4Addr::new(10, 0, high, low).to_string())?;
    request.headers_mut().insert(HeaderName::from_static(FORWARDED_FOR), address);
    let sent = Instant::now();
    let response = client.send(request).await?;
    let took = sent.elapsed();
    let body = String::from_utf8_lossy(&response.body);
    ensure!(response.status == StatusCode::UNAUTHORIZED, "{}: {body}", response.status);
    Ok(took)
}

fn compare(unknown: &[Duration], wrong: &[Duration]) -> Timing {
    let ms = |took: &Duration| took.as_secs_f64() * 1000.0;
    let sorted = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values
    };
    let differences = unknown.iter().zip(wrong).map(|(unknown, wrong)| ms(unknown) - ms(wrong));
    let differences = sorted(differences.collect());
    let (low, high) = interval_of_median(differences.len());
    Timing {
        pairs: differences.len(),
        unknown_ms: median(&sorted(unknown.iter().map(ms).collect())),
        wrong_ms: median(&sorted(wrong.iter().map(ms).collect())),
        difference_ms: median(&differences),
        interval_ms: (differences[low], differences[high]),
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// The ranks between which the true median lies with 99 % confidence, by the binomial distribution
/// of the signs (as normal): no assumption on the distribution of the values.
fn interval_of_median(count: usize) -> (usize, usize) {
    let half_width = 2.576 * (count as f64).sqrt() / 2.0;
    let middle = count as f64 / 2.0;
    let low = (middle - half_width).floor().max(0.0) as usize;
    let high = ((middle + half_width).ceil() as usize).min(count - 1);
    (low, high)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// With noise of 0 to 4 ms.
    fn noisy(base_us: u64, seed: u64) -> Vec<Duration> {
        let mut random = StdRng::seed_from_u64(seed);
        let noise = std::iter::repeat_with(|| random.random_range(0..4_000));
        noise.take(1_000).map(|noise| Duration::from_micros(base_us + noise)).collect()
    }

    #[test]
    fn a_difference_is_found_and_none_is_not() {
        let same = compare(&noisy(20_000, 1), &noisy(20_000, 2));
        assert!(same.is_within_noise(), "{same:?}");
        let faster = compare(&noisy(19_500, 3), &noisy(20_000, 4));
        assert!(!faster.is_within_noise() && faster.difference_ms < -0.3, "{faster:?}");
        let slower = compare(&noisy(20_500, 5), &noisy(20_000, 6));
        assert!(!slower.is_within_noise() && slower.difference_ms > 0.3, "{slower:?}");
    }

    #[test]
    fn the_interval_lies_around_the_middle() {
        assert_eq!(interval_of_median(1_000), (459, 541));
        assert_eq!(interval_of_median(1), (0, 0));
    }
}
