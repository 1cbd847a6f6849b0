//! What people see.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use proto_contracts::agent::{ComponentStatus, Phase, StackStatus};

/// Not `--json`, which the curl of Ubuntu 22.04 lacks.
const JSON: &str = "-H 'Content-Type: application/json'";

/// Prints a line.
pub(super) fn say(line: impl Display) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// The table of all components.
pub(super) fn status(status: &StackStatus) -> Result<()> {
    match status.phase {
        Phase::Ready => {}
        Phase::Starting => say("It is still starting; `make logs i=supervisor` shows how far it is.")?,
        Phase::Stopping => say("It is being ended.")?,
    }
    components(status.components.iter())
}

/// The table of these components, and what became of those that died.
pub(super) fn components<'a>(components: impl Iterator<Item = &'a ComponentStatus> + Clone) -> Result<()> {
    for line in table(components.clone()) {
        say(line)?;
    }
    for part in components.filter(|part| !part.last_lines.is_empty()) {
        say(format_args!("\n{} died: {}", part.name, part.exit.as_deref().unwrap_or("it ended")))?;
        for line in &part.last_lines {
            say(format_args!("    | {line}"))?;
        }
    }
    Ok(())
}

/// One line for each, and a head; every column is as wide as its longest entry.
fn table<'a>(components: impl Iterator<Item = &'a ComponentStatus>) -> Vec<String> {
    let head = ["COMPONENT", "STATE", "PID", "PORT", "UPTIME", "LOG"].map(str::to_owned);
    let rows = components.map(|part| {
        let pid = part.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let uptime = part.uptime_s.map_or_else(|| "-".to_owned(), duration);
        [part.name.clone(), part.state.to_string(), pid, part.port.to_string(), uptime, part.log.clone()]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>() + &row[5]
    };
    rows.iter().map(line).collect()
}

/// Where everything is, and what to try first.
pub(super) fn welcome(status: &StackStatus) -> Result<()> {
    let (urls, ca, token) = (&status.urls, &status.ca_file, &status.control_token_file);
    let https = urls.https.as_deref().unwrap_or(&urls.gateway);
    say("\nTandem is running.\n")?;
    say(format_args!("  {https:<26}the API, through Nginx; its authority is {ca}"))?;
    say(format_args!("  {:<26}the gateway itself", urls.gateway))?;
    say(format_args!("  {:<26}its control plane; the token is in {token}", urls.control))?;
    if let Some(second) = &urls.second {
        say(format_args!("  {:<26}the second gateway; its control plane is {}", second.gateway, second.control))?;
    }
    if let Some(prometheus) = &urls.prometheus {
        say(format_args!("  {prometheus:<26}Prometheus: what is measured, and which alerts fire"))?;
    }
    say("\nTry:\n")?;
    say(format_args!("  curl --cacert {ca} {https}/api/v1/stateless/info\n"))?;
    say(format_args!("  curl -i --cacert {ca} {https}/api/v1/stateful/sessions {JSON} -d '{{}}'\n"))?;
    say(format_args!(
        "  curl -X PUT {}/control/v1/pools/stateful/strategy {JSON} \\\n      \
         -d '{{\"strategy\":\"round_robin\"}}' -H \"Authorization: Bearer $(cat {token})\"",
        urls.control
    ))?;
    say("\n`make status` shows the parts, `make down` ends them.")
}

/// Seconds as people say them.
fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::agent::ComponentState;

    use super::*;

    #[test]
    fn every_column_begins_in_one_place_however_long_the_names_are() {
        let part = |name: &str, state, uptime_s| ComponentStatus {
            name: name.to_owned(),
            pool: None,
            state,
            pid: Some(4_194_304),
            port: 18_391,
            uptime_s: Some(uptime_s),
            exit: None,
            log: format!("/logs/{name}.log"),
            last_lines: Vec::new(),
        };
        let parts = [
            part("redis-sessions-1", ComponentState::Running, 5),
            part("postgres", ComponentState::Starting, 359_999_999),
            part("a-component-with-a-name-that-nobody-expected", ComponentState::Died, 65),
        ];
        let lines = table(parts.iter());
        let starts = |line: &str| -> Vec<usize> {
            let at = line.char_indices().filter(|&(index, c)| {
                // Two spaces part the columns; one stands within an uptime.
                c != ' ' && (index == 0 || line[..index].ends_with("  "))
            });
            at.map(|(index, _)| index).collect()
        };
        let columns = starts(&lines[0]);
        assert_eq!(columns.len(), 6, "{lines:#?}");
        for line in &lines {
            assert_eq!(starts(line), columns, "{lines:#?}");
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([5, 65, 7265].map(duration), ["5 s", "1 min 5 s", "2 h 1 min"]);
    }
}
