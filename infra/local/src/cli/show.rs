//! Output of the commands.

use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use anyhow::Result;
use proto_contracts::agent::{ComponentStatus, Phase, StackStatus};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::nginx::CLASS_CODE;
use crate::secrets::admin_password_file;

/// Not `--json`, which the curl of Ubuntu 22.04 lacks.
const JSON: &str = "-H 'Content-Type: application/json'";

/// Prints a line.
pub(super) fn print_line(line: impl Display) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// The table of all components.
pub(super) fn status(status: &StackStatus) -> Result<()> {
    match status.phase {
        Phase::Ready => {}
        Phase::Starting => {
            print_line("Still starting; `make logs i=supervisor` shows the progress.")?
        }
        Phase::Stopping => print_line("Stopping.")?,
    }
    components(status.components.iter())
}

/// The table of these components, and the last log lines of those that died.
pub(super) fn components<'a>(
    components: impl Iterator<Item = &'a ComponentStatus> + Clone,
) -> Result<()> {
    for line in table(components.clone()) {
        print_line(line)?;
    }
    for part in components.filter(|part| !part.last_lines.is_empty()) {
        print_line(format_args!(
            "\n{} died: {}",
            part.name,
            part.exit.as_deref().unwrap_or("exit status unknown")
        ))?;
        for line in &part.last_lines {
            print_line(format_args!("    | {line}"))?;
        }
    }
    Ok(())
}

/// A header and one line per component; each column is as wide as its longest entry.
fn table<'a>(components: impl Iterator<Item = &'a ComponentStatus>) -> Vec<String> {
    let head = ["COMPONENT", "STATE", "PID", "PORT", "UPTIME", "LOG"].map(str::to_owned);
    let rows = components.map(|part| {
        let pid = part.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let uptime = part.uptime_s.map_or_else(|| "-".to_owned(), duration);
        [
            part.name.clone(),
            part.state.to_string(),
            pid,
            part.port.to_string(),
            uptime,
            part.log.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>() + &row[5]
    };
    rows.iter().map(line).collect()
}

/// The URLs, and what to try first.
pub(super) fn welcome(state: &Path, status: &StackStatus) -> Result<()> {
    let (urls, ca, token) = (&status.urls, &status.ca_file, &status.control_token_file);
    let https = urls.https.as_deref().unwrap_or(&urls.gateway);
    print_line("\nTandem is running.\n")?;
    print_line(format_args!("  {https:<26}the API, through Nginx; its CA certificate is {ca}"))?;
    print_line(format_args!("  {:<26}the gateway", urls.gateway))?;
    print_line(format_args!("  {:<26}its control plane; token: {token}", urls.control))?;
    if let Some(second) = &urls.second {
        print_line(format_args!(
            "  {:<26}the second gateway; its control plane: {}",
            second.gateway, second.control
        ))?;
    }
    if let Some(prometheus) = &urls.prometheus {
        print_line(format_args!("  {prometheus:<26}Prometheus: metrics and alerts"))?;
    }
    if let (Some(class), Ok(code)) = (&urls.class, fs::read_to_string(state.join(CLASS_CODE))) {
        let address = format!("{class}#{code}");
        print_line(format_args!("\n  {address}\n      the page for the phones of a class\n"))?;
        print_line(qr(&address)?)?;
    }
    let password = admin_password_file(state);
    if password.exists() {
        print_line(format_args!(
            "  {:<26}may do everything in the API; first password: {}",
            "the user admin",
            password.display()
        ))?;
    }
    print_line("\nTry:\n")?;
    print_line(format_args!("  curl --cacert {ca} {https}/api/v1/stateless/info\n"))?;
    print_line(format_args!(
        "  curl -i --cacert {ca} {https}/api/v1/stateful/sessions {JSON} -d '{{}}'\n"
    ))?;
    print_line(format_args!(
        "  curl -X PUT {}/control/v1/pools/stateful/strategy {JSON} \\\n      \
         -d '{{\"strategy\":\"round_robin\"}}' -H \"Authorization: Bearer $(cat {token})\"",
        urls.control
    ))?;
    print_line("\n`make status` lists the components, `make down` stops them.")
}

/// A QR code of half blocks, dark on light in any terminal: not every reader knows the inverse.
fn qr(text: &str) -> Result<String> {
    let code = QrCode::new(text)?.render::<Dense1x2>().build();
    if !io::stdout().is_terminal() {
        return Ok(code);
    }
    let lines = code.lines().map(|line| format!("  \x1b[30;107m{line}\x1b[0m"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Seconds in a readable form.
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
    fn columns_are_aligned_for_names_of_any_length() {
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
            part("a-component-with-an-unexpectedly-long-name", ComponentState::Died, 65),
        ];
        let lines = table(parts.iter());
        let starts = |line: &str| -> Vec<usize> {
            let at = line.char_indices().filter(|&(index, c)| {
                // Two spaces separate the columns; an uptime contains single ones.
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
    fn durations_are_readable() {
        assert_eq!([5, 65, 7265].map(duration), ["5 s", "1 min 5 s", "2 h 1 min"]);
    }
}
