#!/usr/bin/env python3
"""Checks the Prometheus rules: syntax and tests with promtool, and completeness.

Each alert needs a test in which it fires, one in which it stays quiet, a severity, and a page in the runbook. Takes no
arguments; exits with 1 on any fault.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "infra/monitoring/prometheus"
RUNBOOK = "docs/RUNBOOK.md"
ALERT_IN_TEST = re.compile(r'alertname="(\w+)"')


def promtool(*arguments):
    """Runs promtool; prints its output if it fails."""
    run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    if run.returncode:
        print(run.stdout + run.stderr, file=sys.stderr)
    return run.returncode == 0


def expectations():
    """The alerts that some test expects to fire, and those that some test expects to be quiet."""
    fires, quiet = set(), set()
    for file in sorted((PROMETHEUS / "tests").glob("*.yml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("promql_expr_test", []):
                names = ALERT_IN_TEST.findall(case["expr"])
                (fires if case["exp_samples"] else quiet).update(names)
    return fires, quiet


def main():
    rules = sorted((PROMETHEUS / "rules").glob("*.yml"))
    tests = sorted((PROMETHEUS / "tests").glob("*.yml"))
    alerts = [
        rule
        for file in rules
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    fires, quiet = expectations()
    headings = {line.lstrip("# ").strip() for line in (ROOT / RUNBOOK).read_text().splitlines() if line.startswith("### ")}
    faults = []
    for alert in alerts:
        name = alert["alert"]
        if name not in fires:
            faults.append(f"{name}: it fires in no test")
        if name not in quiet:
            faults.append(f"{name}: it stays quiet in no test")
        if alert.get("labels", {}).get("severity") not in ("page", "ticket"):
            faults.append(f"{name}: its severity is neither page nor ticket")
        if alert.get("annotations", {}).get("runbook_url") != f"{RUNBOOK}#{name.lower()}":
            faults.append(f"{name}: its runbook_url is not {RUNBOOK}#{name.lower()}")
        if name not in headings:
            faults.append(f"{name}: {RUNBOOK} has no page for it")
    known = {alert["alert"] for alert in alerts}
    faults += [f"{name}: a test names this alert, which does not exist" for name in sorted((fires | quiet) - known)]
    for fault in faults:
        print(fault, file=sys.stderr)
    passed = promtool("check", "rules", *rules)
    passed &= promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml", PROMETHEUS / "local.yml")
    passed &= promtool("test", "rules", *tests)
    if faults or not passed:
        sys.exit(1)
    print(f"{len(alerts)} alerts: each fires in one test, is quiet in another, and has a page in the runbook")


if __name__ == "__main__":
    main()
