//! The Prometheus that `up` starts: its targets and rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::Client;
use serde_json::Value;

use crate::client_without_ca;
use crate::command_line::Installation;

/// The exporters that this machine has, by the names of their components.
pub(crate) fn exporters() -> Vec<String> {
    let installed = |of: &&str| Path::new(&format!("/usr/bin/prometheus-{of}-exporter")).is_file();
    ["redis", "postgres", "nginx"]
        .into_iter()
        .filter(installed)
        .map(|of| format!("{of}-exporter"))
        .collect()
}

/// Limit for Prometheus to reload its targets and to scrape, both every few seconds.
const TIMEOUT: Duration = Duration::from_secs(40);

struct Prometheus {
    client: Client,
    port: u16,
}

impl Prometheus {
    async fn data(&self, path: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let mut response: Value =
            self.client.get(url).send().await?.error_for_status()?.json().await?;
        Ok(response["data"].take())
    }

    /// The targets whose last scrape succeeded, by component name.
    async fn up(&self) -> Result<BTreeSet<String>> {
        let data = self.data("query?query=up%3D%3D1").await?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        Ok(series
            .iter()
            .filter_map(|one| Some(one["metric"]["instance"].as_str()?.to_owned()))
            .collect())
    }

    async fn scrapes(&self, expected: &str) -> Result<()> {
        let installed = exporters();
        let of_exporters = installed.iter().flat_map(|exporter| match exporter.as_str() {
            "redis-exporter" => vec!["redis-sessions", "redis-cache"],
            "postgres-exporter" => vec!["postgres"],
            _ => vec!["nginx"],
        });
        let expected: BTreeSet<String> =
            expected.split(' ').chain(of_exporters).map(str::to_owned).collect();
        let begin = Instant::now();
        loop {
            let up = self.up().await?;
            if up == expected {
                return Ok(());
            }
            ensure!(begin.elapsed() < TIMEOUT, "up are {up:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn prometheus_follows_the_stack_and_has_the_rules() -> Result<()> {
    let installation = Installation::new()?;
    let output = installation.up()?;
    let prometheus = Prometheus { client: client_without_ca()?, port: 8090 + installation.offset };
    assert!(output.contains(&format!("http://127.0.0.1:{}", prometheus.port)), "{output}");
    prometheus.scrapes("gateway prometheus stateless-1 stateful-1 stateful-2").await?;
    installation.succeed(&["scale", "stateful=3", "stateless=2"])?;
    prometheus
        .scrapes("gateway prometheus stateless-1 stateless-2 stateful-1 stateful-2 stateful-3")
        .await?;
    installation.succeed(&["kill", "stateful-2"])?;
    prometheus.scrapes("gateway prometheus stateless-1 stateless-2 stateful-1 stateful-3").await?;
    installation.succeed(&["scale", "stateful=1"])?;
    prometheus.scrapes("gateway prometheus stateless-1 stateless-2 stateful-1").await?;

    // The exporters return the servers' metrics.
    for (exporter, metric, servers) in
        [("redis", "redis_up", 2), ("postgres", "pg_up", 1), ("nginx", "nginx_up", 1)]
    {
        if exporters().contains(&format!("{exporter}-exporter")) {
            let series = prometheus.data(&format!("query?query={metric}%3D%3D1")).await?;
            assert_eq!(
                series["result"].as_array().map(Vec::len),
                Some(servers),
                "{metric}: {series}"
            );
        }
    }
    let rules = prometheus.data("rules").await?;
    let alerts = rules["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array())
        .flatten();
    let names: BTreeSet<_> = alerts.filter_map(|rule| rule["name"].as_str()).collect();
    assert!(names.contains("InstanceDown") && names.contains("SessionLost"), "{names:?}");
    Ok(())
}
