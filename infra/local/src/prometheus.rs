//! Prometheus, with the rules of `infra/monitoring` and the stack's processes as targets.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::exporters;
use crate::ports::loopback;
use crate::process::Launch;
use crate::programs;
use crate::settings::Settings;
use crate::topology::Gateways;

/// Retention of samples.
const RETENTION: &str = "15d";
/// Maximum disk usage.
const RETENTION_SIZE: &str = "1GB";

/// How Prometheus is started; writes its configuration. [`write_targets`] writes its targets.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let program = programs::find("prometheus", "prometheus")?;
    let dir = settings.state.join("prometheus");
    let rules = dir.join("rules");
    let cannot = || format!("write the configuration of Prometheus into {}", dir.display());
    let _none_yet = fs::remove_dir_all(&rules);
    for folder in [&rules, &dir.join("targets"), &dir.join("data")] {
        fs::create_dir_all(folder).attempt(cannot)?;
    }
    let from = &settings.prometheus_conf;
    let mut config = fs::read_to_string(from.join("local.yml")).attempt(cannot)?;
    if let Some(tls) = &settings.tls {
        // Of the last job, which scrapes all targets.
        config += &format!("    tls_config:\n      ca_file: {}\n", tls.ca.display());
    }
    fs::write(dir.join("prometheus.yml"), config).attempt(cannot)?;
    for file in fs::read_dir(from.join("rules")).attempt(cannot)? {
        let file = file.attempt(cannot)?;
        fs::copy(file.path(), rules.join(file.file_name())).attempt(cannot)?;
    }
    Ok(Launch {
        program,
        args: vec![
            format!("--config.file={}", dir.join("prometheus.yml").display()).into(),
            format!("--storage.tsdb.path={}", dir.join("data").display()).into(),
            format!("--storage.tsdb.retention.time={RETENTION}").into(),
            format!("--storage.tsdb.retention.size={RETENTION_SIZE}").into(),
            format!("--web.listen-address={}", loopback(settings.ports.prometheus)).into(),
        ],
        env: Vec::new(),
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(Component::Prometheus),
    })
}

/// Writes the scrape targets, a file that Prometheus watches: these instances, the gateways, the
/// exporters and itself. The label `instance` is the component's name.
pub(crate) fn write_targets(
    settings: &Settings,
    instances: &[(Component, u16)],
) -> Result<(), StackError> {
    let targets = settings.state.join("prometheus/targets");
    if !targets.is_dir() {
        return Ok(());
    }
    let ports = &settings.ports;
    let own = [(Component::Gateway, ports.control), (Component::Prometheus, ports.prometheus)];
    let second = (settings.gateways == Gateways::Two)
        .then_some((Component::SecondGateway, ports.second_control));
    // Labels that begin with two underscores configure the scrape and are dropped after it.
    let exported = exporters::targets(settings).into_iter().map(|target| {
        let mut labels = json!({"job": target.job, "instance": target.instance.to_string()});
        if let Some(server) = target.server {
            labels["__metrics_path__"] = json!("/scrape");
            labels["__param_target"] = json!(server);
        }
        json!({"targets": [loopback(target.port).to_string()], "labels": labels})
    });
    let groups: Vec<_> = own
        .iter()
        .chain(&second)
        .chain(instances)
        .map(|&(component, port)| {
            let name = component.to_string();
            let job = component.binary().unwrap_or("prometheus");
            let mut labels = json!({"job": job, "instance": name});
            if component.pool().is_some() {
                labels["__scheme__"] = json!(settings.scheme());
            }
            json!({"targets": [loopback(port).to_string()], "labels": labels})
        })
        .chain(exported)
        .collect();
    write_whole(&targets.join("stack.json"), &json!(groups).to_string())
}

/// Replaces the file atomically, as Prometheus may read it at any time.
fn write_whole(file: &Path, text: &str) -> Result<(), StackError> {
    let cannot = || format!("write {}", file.display());
    let beside = file.with_extension("new");
    fs::write(&beside, text).attempt(cannot)?;
    fs::rename(&beside, file).attempt(cannot)
}
