//! `loadtest bench` against real stacks: everything is measured; the figures don't matter. Needs
//! the workspace's binaries (`cargo build --workspace --bins`) and redis-benchmark.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn everything_is_measured() {
    let _processors = crate::all_processors();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, page) = (folder.path().join("report.json"), folder.path().join("report.html"));
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "bench",
            "--quick",
            "--parts",
            "reads,tokens,writes,memory,board",
            "--connections",
            "8",
        ])
        .args(["--json", file.to_str().expect("text")])
        .args(["--html", page.to_str().expect("text")])
        .output()
        .expect("runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        "requests/s",
        "gateway µs",
        "session, sticky",
        "script, redis-benchmark",
        "hot sessions, created",
        "64 boards",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains("session, sticky") && page.contains("out of bounds"), "{page}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
    let sections = report["sections"].as_array().expect("sections");
    assert_eq!(sections.len(), 5);
    for row in sections.iter().flat_map(|section| section["rows"].as_array().expect("rows")) {
        assert!(row["rps"]["median"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["failed"], 0, "{row}");
        assert_eq!(row["cpu_us"].as_array().map(Vec::len), Some(4), "{row}");
    }
    let ratios = sections.iter().map(|section| section["ratios"].as_array().map(Vec::len));
    assert!(ratios.eq([Some(4), Some(2), Some(3), Some(1), Some(2)]), "{report}");
    assert_eq!(sections[0]["rows"][1]["from_memory"], 1.0, "sticky reads come from memory");
    assert_eq!(sections[3]["memory"]["hot_sessions"], 200);
}

#[test]
fn tls_is_compared_with_none() {
    let _processors = crate::all_processors();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["bench", "--quick", "--parts", "tls", "--connections", "8", "--json"])
        .arg(&file)
        .output()
        .expect("runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
    let rows = report["sections"][0]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 8, "four loads on two systems: {table}");
    for row in rows {
        assert!(row["rps"]["median"].as_f64() > Some(0.0) && row["failed"] == 0, "{row}");
        let roles = row["cpu_us"].as_array().expect("roles").iter();
        let roles: Vec<_> = roles.filter_map(|cpu| cpu["process"].as_str()).collect();
        assert_eq!(roles, ["edge", "gateway", "service", "redis", "postgres", "loadtest"], "{row}");
    }
    let ratios = report["sections"][0]["ratios"].as_array().expect("ratios");
    assert!(ratios.iter().any(|ratio| ratio["name"] == "CPU of gateway, info, TLS over plain"));
}

/// With Nginx, which is always installed; `make bench` covers the other proxies.
#[test]
fn the_gateway_is_compared_with_a_proxy_that_does_the_same_work() {
    let _processors = crate::all_processors();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, svg) = (folder.path().join("report.json"), folder.path().join("plot.svg"));
    let proxies = ["gateway", "gateway, Pingora's proxy", "Nginx", "relay of bytes"];
    let table = run(Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["bench", "--quick", "--parts", "proxies,idle", "--json"])
        .arg(&file)
        .args(["--proxies", "gateway,gateway-pingora,nginx,relay"]));
    assert!(table.contains("60 idle clients:"), "{table}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    let sections = report["sections"].as_array().expect("sections");
    let loads = sections.iter().filter_map(|section| section["load"]["workload"].as_str());
    let expected = ["small", "behind_nginx", "large", "upload", "tls"];
    assert!(loads.eq(expected), "{report}");
    for section in sections {
        let rows = section["rows"].as_array().expect("rows");
        for row in rows {
            assert!(row["rps"]["median"].as_f64() > Some(0.0), "{row}");
            assert!(row["p99_ms"]["median"].as_f64() > Some(0.0), "{row}");
            assert_eq!(row["failed"], 0, "{row}");
        }
        if section["load"].is_object() {
            // The relay ends no TLS.
            let (proxies, ratios) = match section["load"]["workload"] == "tls" {
                true => (&proxies[..3], 2),
                false => (&proxies[..], 4),
            };
            let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
            assert_eq!(names, proxies, "{section}");
            assert_eq!(section["ratios"].as_array().map(Vec::len), Some(ratios), "{section}");
        } else {
            let idle = section["idle"].as_array().expect("idle clients");
            let names: Vec<_> = idle.iter().filter_map(|idle| idle["name"].as_str()).collect();
            assert_eq!(names, proxies[..3], "{section}");
            assert!(idle.iter().all(|idle| idle["clients"] == 60), "{section}");
        }
    }

    let tables = run(Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("figures").args([
        &file,
        Path::new("--svg"),
        &svg,
    ]));
    for name in proxies {
        assert!(tables.contains(&format!("\n| {name} | ")), "{name} in {tables}");
    }
    for ratio in
        ["gateway over Nginx", "gateway over Nginx, beyond the relay", "relay of bytes over Nginx"]
    {
        assert!(tables.contains(&format!("\n| {ratio} | ")), "{ratio} in {tables}");
    }
    let svg = std::fs::read_to_string(svg).expect("written");
    assert!(svg.starts_with("<svg") && svg.contains("connections"), "{svg}");
}

/// The standard output of a command that succeeds.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    text
}
