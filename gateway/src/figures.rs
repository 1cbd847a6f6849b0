//! What the gateway's own metrics say of a pool: verdicts, retries, statuses and durations.

use std::collections::BTreeMap;

use proto_contracts::PoolName;

/// The metrics that are read.
const READ: [&str; 4] = [
    "gateway_affinity_total",
    "gateway_upstream_retries_total",
    "http_server_request_duration_seconds_bucket",
    "http_server_request_duration_seconds_count",
];

/// Counters of one pool at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Requests routed, by verdict.
    pub verdicts: BTreeMap<String, f64>,
    /// Retries.
    pub retries: f64,
    /// Finished requests, streams included, by status.
    statuses: BTreeMap<String, f64>,
    /// Finished requests without streams, cumulative, by the upper bound of their duration in
    /// seconds.
    buckets: Vec<(f64, f64)>,
}

impl Counters {
    /// Reads a pool's counters from Prometheus' text format.
    pub fn read(text: &str, pool: PoolName) -> Self {
        let mut counters = Self::default();
        // Parsing all of the hundreds of lines would take several times as long.
        let is_read = |line: &&str| READ.iter().any(|name| line.starts_with(name));
        for sample in text.lines().filter(is_read).filter_map(Sample::parse) {
            let of_pool = sample.label("pool") == Some(pool.as_str());
            match sample.name {
                "gateway_affinity_total" if of_pool => {
                    let verdict = sample.label("verdict").unwrap_or_default().to_owned();
                    counters.verdicts.insert(verdict, sample.value);
                }
                "gateway_upstream_retries_total" if of_pool => counters.retries = sample.value,
                "http_server_request_duration_seconds_bucket" => {
                    let route = sample.label("http_route").unwrap_or_default();
                    let is_stream = route.ends_with("/events") || route.ends_with("/live");
                    let bound = sample.label("le").and_then(|bound| bound.parse().ok());
                    if let (false, Some(bound), true) = (is_stream, bound, route_is_of(route, pool))
                    {
                        counters.add(bound, sample.value);
                    }
                }
                "http_server_request_duration_seconds_count"
                    if route_is_of(sample.label("http_route").unwrap_or_default(), pool) =>
                {
                    let status = sample.label("http_response_status_code").unwrap_or_default();
                    *counters.statuses.entry(status.to_owned()).or_default() += sample.value;
                }
                _ => {}
            }
        }
        counters
    }

    /// Finished requests whose status has this prefix, such as `5` or `404`.
    pub fn with_status(&self, prefix: &str) -> f64 {
        let of = |(status, count): (&String, &f64)| status.starts_with(prefix).then_some(*count);
        self.statuses.iter().filter_map(of).sum()
    }

    fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => self.buckets.push((bound, count)),
        }
    }

    /// The difference to an earlier scrape.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            before.buckets.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, n)| *n)
        };
        // Counters of a restarted gateway begin at 0.
        let grown = |now: f64, then: f64| if now < then { now } else { now - then };
        let all = |now: &BTreeMap<String, f64>, then: &BTreeMap<String, f64>| {
            let of = |name: &String| then.get(name).copied().unwrap_or_default();
            now.iter().map(|(name, &n)| (name.clone(), grown(n, of(name)))).collect()
        };
        let mut buckets: Vec<_> =
            self.buckets.iter().map(|&(bound, n)| (bound, grown(n, earlier(bound)))).collect();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Self {
            verdicts: all(&self.verdicts, &before.verdicts),
            statuses: all(&self.statuses, &before.statuses),
            retries: grown(self.retries, before.retries),
            buckets,
        }
    }

    /// All routed requests.
    pub fn routed(&self) -> f64 {
        self.verdicts.values().sum()
    }

    /// The duration in milliseconds that this share of the requests did not exceed, interpolated
    /// within its bucket as Prometheus' `histogram_quantile` does; `None` when there were none.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total = self.buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let wanted = share * total;
        let place = self.buckets.iter().position(|(_, count)| *count >= wanted)?;
        let (lower, below) = place.checked_sub(1).map_or((0.0, 0.0), |before| self.buckets[before]);
        let (upper, upto) = self.buckets[place];
        // The last bucket has no upper bound to interpolate to.
        let seconds = if upper.is_finite() && upto > below {
            lower + (upper - lower) * (wanted - below) / (upto - below)
        } else {
            lower
        };
        Some(seconds * 1_000.0)
    }
}

/// Whether the template is one of the pool's: `/api/v1/stateful/…` or the legacy `/api/stateful/…`.
fn route_is_of(route: &str, pool: PoolName) -> bool {
    route.split('/').skip(2).take(2).any(|segment| segment == pool.as_str())
}

/// One line of the format.
pub struct Sample<'a> {
    /// The metric.
    pub name: &'a str,
    labels: &'a str,
    /// Its value.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// Reads a line; `None` for a comment.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = head.split_once('{').unwrap_or((head, ""));
        Some(Self {
            name,
            labels: labels.strip_suffix('}').unwrap_or(labels),
            value: value.parse().ok()?,
        })
    }

    /// The value of a label; none of the gateway's holds a quote or a comma.
    pub fn label(&self, wanted: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name == wanted).then(|| value.trim_matches('"'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
# TYPE gateway_affinity_total counter
gateway_affinity_total{pool="stateful",verdict="home"} 10
gateway_affinity_total{pool="stateless",verdict="off"} 7
gateway_upstream_retries_total{pool="stateful"} 1
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="0.001"} 10
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="0.01"} 10
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="+Inf"} 10
"#;
    const AFTER: &str = r#"
gateway_affinity_total{pool="stateful",verdict="home"} 108
gateway_affinity_total{pool="stateful",verdict="new"} 2
gateway_upstream_retries_total{pool="stateful"} 4
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="0.001"} 60
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="0.01"} 80
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}",le="+Inf"} 80
http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}"} 80
http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",http_route="/api/v1/stateful/sessions/{session_id}"} 3
http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="503",http_route="/api/v1/stateless/info"} 9
http_server_request_duration_seconds_bucket{http_request_method="POST",http_response_status_code="201",http_route="/api/v1/stateful/sessions",le="0.001"} 0
http_server_request_duration_seconds_bucket{http_request_method="POST",http_response_status_code="201",http_route="/api/v1/stateful/sessions",le="0.01"} 29
http_server_request_duration_seconds_bucket{http_request_method="POST",http_response_status_code="201",http_route="/api/v1/stateful/sessions",le="+Inf"} 30
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateful/sessions/{session_id}/events",le="+Inf"} 1000
http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",http_route="/api/v1/stateless/info",le="+Inf"} 1000
"#;

    #[test]
    fn counts_are_differences_of_two_scrapes() {
        let read = |text| Counters::read(text, PoolName::Stateful);
        let since = read(AFTER).since(&read(BEFORE));
        assert_eq!((since.routed(), since.retries), (100.0, 3.0));
        assert_eq!(
            since.verdicts.clone().into_iter().collect::<Vec<_>>(),
            [("home".to_owned(), 98.0), ("new".to_owned(), 2.0)]
        );
        let statuses = ["", "404", "5"].map(|prefix| since.with_status(prefix));
        assert_eq!(statuses, [83.0, 3.0, 0.0], "those of the pool");
        let restarted = read(BEFORE).since(&read(AFTER));
        assert_eq!(restarted.routed(), 10.0);
    }

    #[test]
    fn quantiles_are_interpolated_without_streams() {
        let read = |text| Counters::read(text, PoolName::Stateful);
        let since = read(AFTER).since(&read(BEFORE));
        // Of 100, 50 took at most 1 ms and 99 at most 10.
        let rounded = |share| since.quantile_ms(share).map(f64::round);
        assert_eq!(rounded(0.5), Some(1.0));
        assert_eq!(rounded(0.99), Some(10.0));
        assert_eq!(rounded(1.0), Some(10.0), "and one took longer");
        assert_eq!(Counters::default().quantile_ms(0.5), None);
    }
}
