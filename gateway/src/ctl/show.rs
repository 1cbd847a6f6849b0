//! Text output, on 80 columns.

use std::fmt::Write as _;

use proto_contracts::control::{Change, Discovery, Explanation, Instance, Pool, Pools};
use proto_contracts::{PoolName, Weight};

/// A table per pool.
pub(super) fn pools(pools: &Pools) -> String {
    let tables: Vec<_> = pools.pools.iter().map(pool).collect();
    tables.join("\n")
}

fn pool(pool: &Pool) -> String {
    let mut text = format!("{}  {}  epoch {}\n", pool.name, pool.strategy, pool.epoch);
    if let Some(Discovery { name, addresses, found_s_ago, error }) = &pool.discovery {
        let when = found_s_ago
            .map_or_else(|| "before the gateway's start".to_owned(), |ago| format!("{ago} s ago"));
        let _infallible = writeln!(text, "  {name}: {addresses} addresses, resolved {when}");
        if let Some(error) = error {
            let _infallible = writeln!(text, "    last lookup failed: {error}");
        }
    }
    if pool.instances.is_empty() {
        return text + "  no instance\n";
    }
    let _infallible = writeln!(
        text,
        "  {:<16} {:<21} {:<10} {:>6} {:>5} {:>7} {:>6}",
        "NAME", "ADDR", "STATE", "FLIGHT", "LIVE", "SESSION", "KEYS %"
    );
    for instance in &pool.instances {
        let sessions =
            instance.live_sessions.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let _infallible = writeln!(
            text,
            "  {:<16} {:<21} {:<10} {:>6} {:>5} {:>7} {:>6.2}",
            cut(&name(instance), 16),
            instance.addr.to_string(),
            instance.state.as_str(),
            instance.in_flight,
            instance.streams,
            sessions,
            instance.key_share_percent,
        );
        if instance.weight != Weight::ONE {
            let _infallible = writeln!(text, "    weight {}", instance.weight);
        }
        if let Some(left) = instance.lease_s {
            let _infallible =
                writeln!(text, "    canary: it leaves within {left} s of its watcher");
        }
        if let Some(percent) = instance.slow_start_percent {
            let _infallible =
                writeln!(text, "    slow start: {percent} % of its share of new keys");
        }
        if let Some(error) = &instance.last_error {
            let _infallible = writeln!(text, "    {error}");
        }
    }
    text
}

/// The result of adding an instance.
pub(super) fn added(pool: PoolName, instance: &Instance) -> String {
    match &instance.name {
        Some(name) => {
            format!("{name} at {} is in {pool}; it is {}.\n", instance.addr, instance.state)
        }
        None => {
            let error = instance.last_error.as_deref().unwrap_or("it has not been checked yet");
            format!("{} joins {pool} once its checks pass; now {error}.\n", instance.addr)
        }
    }
}

/// The home of a key, the reason, and the keys that a change would move.
pub(super) fn explanation(explained: &Explanation) -> String {
    let mut text = format!(
        "key {} in {} ({}, epoch {})\n\n",
        explained.key, explained.pool, explained.strategy, explained.epoch
    );
    let _infallible = writeln!(
        text,
        "  {:>4}  {:<16} {:<16} {:<10} PASSED OVER",
        "RANK", "NAME", "SCORE", "STATE"
    );
    for ranked in &explained.ranking {
        let chosen = if explained.choice.as_ref() == Some(&ranked.name) { "→" } else { " " };
        let passed_over = ranked.passed_over.as_deref().unwrap_or_default();
        let line = format!(
            "{chosen} {:>4}  {:<16} {:<16} {:<10} {passed_over}",
            ranked.rank,
            cut(ranked.name.as_str(), 16),
            ranked.score,
            ranked.state.as_str()
        );
        let line = match ranked.weighted_score {
            Some(score) => {
                format!("{}  weight {}, weighted {score:.3}", line.trim_end(), ranked.weight)
            }
            None => line,
        };
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    let _infallible = writeln!(text, "\n{}", explained.reason);
    if let Some(assumed) = &explained.change {
        text += &change(explained, assumed);
    }
    text
}

fn change(explained: &Explanation, change: &Change) -> String {
    let name =
        |name: &Option<_>| name.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let mut text =
        format!("\n{}\n\n{:.2} % of all keys would move, ", change.effect, change.moved_percent);
    let home = name(&change.home);
    let _infallible = match change.moves {
        true => writeln!(text, "and {} to {home}:", explained.key),
        false => writeln!(text, "and {} would stay with {home}:", explained.key),
    };
    for flow in &change.flows {
        let _infallible =
            writeln!(text, "  {:>6.2} %  {} → {}", flow.percent, name(&flow.from), name(&flow.to));
    }
    if !change.examples.is_empty() {
        text += "such as\n";
    }
    for example in &change.examples {
        let _infallible =
            writeln!(text, "  {}  {} → {}", example.key, name(&example.from), name(&example.to));
    }
    text
}

/// The names of all instances.
pub(super) fn labels(pools: &Pools) -> String {
    let all: Vec<_> = pools.pools.iter().flat_map(|pool| pool.instances.iter().map(name)).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Its name, or its address while the name is unknown.
pub(super) fn name(instance: &Instance) -> String {
    instance.name.as_ref().map_or_else(|| instance.addr.to_string(), ToString::to_string)
}

/// Cuts to `width` characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Pools {
        serde_json::from_value(serde_json::json!({"pools": [{
            "name": "stateful", "strategy": "sticky", "epoch": "0badcafe", "instances": [
                {"name": "stateful-1", "addr": "127.0.0.1:8201", "state": "healthy", "in_flight": 3, "streams": 2,
                 "requests": 100, "connect_failures": 0, "live_sessions": 12, "key_share_percent": 66.67},
                {"name": "a-name-that-is-longer-than-its-column", "addr": "[2001:db8::1:2:3]:8202", "state": "unhealthy",
                 "in_flight": 123_456, "streams": 0, "requests": 7, "connect_failures": 7, "live_sessions": null,
                 "key_share_percent": 33.33, "last_error": "timed out"},
            ],
        }, {"name": "stateless", "strategy": "round_robin", "epoch": "00000000", "instances": []}]}))
        .expect("pools")
    }

    #[test]
    fn a_table_fits_80_columns_with_errors_below() {
        let text = pools(&sample());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for expected in [
            "stateful  sticky  epoch 0badcafe",
            "66.67",
            "a-name-that-is-…",
            "    timed out",
            "no instance",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn labels_name_all_instances() {
        assert_eq!(labels(&sample()), "stateful-1, a-name-that-is-longer-than-its-column");
        assert_eq!(labels(&Pools { pools: Vec::new() }), "none");
    }
}
