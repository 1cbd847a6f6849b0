//! Markdown tables.

use std::fmt::Write as _;

use super::run::{Load, Row, Run, Section, Spread};

/// How the names of the ratios begin that are shown.
const SHOWN: [&str; 4] = [
    "CPU, gateway over ",
    "CPU, other gateway over HAProxy",
    "CPU, other gateway over Nginx",
    "CPU, relay of bytes over ",
];

/// A line about the run, and its tables.
pub(super) fn markdown(run: &Run) -> String {
    let (machine, plan) = (&run.machine, &run.plan);
    let date = run.timestamp.split('T').next().unwrap_or_default();
    let mut text = format!(
        "One run on {date}: {machine}.\nMedian of {} rounds of {} s, with minimum and maximum of \
         the ratios.\n",
        plan.rounds, plan.round_s
    );
    if let Some(file) = &plan.other_gateway {
        let _infallible = writeln!(text, "The other gateway is `{}`.", file.display());
    }
    let mut threads: Vec<usize> = run.loads().map(|(load, _)| load.threads).collect();
    threads.dedup();
    for threads in threads {
        let of = |wanted: &[&str]| -> Vec<(&Load, &Section)> {
            run.loads()
                .filter(|(load, _)| load.threads == threads && wanted.contains(&&*load.workload))
                .collect()
        };
        let (small, behind) = (of(&["small"]), of(&["behind_nginx"]));
        let others = of(&["large", "upload", "tls"]);
        let by = |text: &str| match threads {
            1 => format!("{text}, one thread"),
            _ => format!("{text}, {threads} threads"),
        };
        cpu(&mut text, &by("CPU µs per request by connections"), &small);
        cpu(&mut text, &by("CPU µs per request behind Nginx, by connections"), &behind);
        cpu(&mut text, &by("CPU µs per request"), &others);
        let rate = |row: &Row| {
            let p99 = row.p99_ms.map_or(f64::NAN, |p99| p99.median);
            Some(format!("{}, {p99:.1}", thousands(row.rps.median)))
        };
        table(&mut text, &by("requests/s, p99 in ms, by connections"), &small, rate, |_| false);
    }
    run.idle().for_each(|section| idle(&mut text, section, run.plan.idle_rate));
    text.push('\n');
    text
}

fn cpu(text: &mut String, title: &str, sections: &[(&Load, &Section)]) {
    let has_edge = sections.iter().any(|(load, _)| load.workload == "tls");
    let processes = if has_edge { &["proxy", "edge"][..] } else { &["proxy"] };
    let cell = |row: &Row| Some(format!("{:.1}", row.cpu_of(processes)?.median));
    table(text, title, sections, cell, |ratio| SHOWN.iter().any(|shown| ratio.starts_with(shown)));
}

/// A column for each section, a row for each proxy and each wanted ratio.
fn table(
    text: &mut String,
    title: &str,
    sections: &[(&Load, &Section)],
    cell: impl Fn(&Row) -> Option<String>,
    is_wanted: impl Fn(&str) -> bool,
) {
    let Some((_, first)) = sections.first() else { return };
    let columns = sections.iter().map(|(load, _)| column(load));
    line(text, title, columns, true);
    for name in first.rows.iter().map(|row| &row.name) {
        let row = |section: &Section| cell(section.rows.iter().find(|row| row.name == *name)?);
        line(text, name, sections.iter().map(|(_, section)| row(section)), false);
    }
    for name in first.ratios.iter().map(|ratio| &ratio.name).filter(|name| is_wanted(name)) {
        let ratio = |section: &Section| {
            let ratio = section.ratios.iter().find(|ratio| ratio.name == *name)?.ratio;
            Some(spread(ratio))
        };
        let title = name.trim_start_matches("CPU, ");
        line(text, title, sections.iter().map(|(_, section)| ratio(section)), false);
    }
}

fn line(
    text: &mut String,
    title: &str,
    cells: impl ExactSizeIterator<Item = Option<String>>,
    is_head: bool,
) {
    let columns = cells.len();
    let cells: Vec<String> = cells.map(|cell| cell.unwrap_or_else(|| "–".to_owned())).collect();
    let blank = if is_head { "\n" } else { "" };
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{blank}| {title} | {} |", cells.join(" | "));
    if is_head {
        let _infallible = writeln!(text, "| --- |{}", " --- |".repeat(columns));
    }
}

fn column(load: &Load) -> Option<String> {
    let connections = thousands(load.connections as f64);
    Some(match &*load.workload {
        "large" => format!("64 KiB responses, {connections} connections"),
        "upload" => format!("1 MiB uploads, {connections} connections"),
        "tls" => format!("TLS, {connections} connections"),
        _ => connections,
    })
}

fn idle(text: &mut String, section: &Section, rate: u32) {
    let clients = section.idle.first().map_or(0, |idle| idle.clients);
    let title = format!("{} idle clients", thousands(clients as f64));
    let head = [
        "bytes each".to_owned(),
        "MiB without them".to_owned(),
        format!("p99 ms of {rate} requests/s, without and with them"),
    ];
    line(text, &title, head.into_iter().map(Some), true);
    for idle in &section.idle {
        let p99 = |name: &str| {
            let row = section.rows.iter().find(|row| row.name == name)?;
            Some(format!("{:.2}", row.p99_ms?.median))
        };
        let (without, with) = (p99(&idle.name), p99(&format!("{}, idle clients", idle.name)));
        let cells = [
            Some(thousands(idle.bytes_per_client)),
            Some(format!("{:.1}", idle.resident_bytes as f64 / f64::from(1 << 20))),
            without.zip(with).map(|(without, with)| format!("{without}, {with}")),
        ];
        line(text, &idle.name, cells.into_iter(), false);
    }
}

fn spread(Spread { median, min, max }: Spread) -> String {
    format!("{median:.2} ({min:.2}–{max:.2})")
}

/// With a comma between thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [(4.0, "4"), (999.6, "1,000"), (15_000.0, "15,000")] {
            assert_eq!(thousands(number), expected);
        }
    }
}
