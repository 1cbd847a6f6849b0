#!/usr/bin/env python3
"""Tests the alerts on a running system: `make alerts-test`. Starts a local stack of its own, under a light load, and breaks it.

    try-alerts.py [folder of the programs, target/debug by default] [names of scenarios]

Each scenario is one cause. It lists the alerts that must fire, and similar ones that must not. Each alert has one true and two
false causes here, or is listed as untested with the reason. To finish within minutes, the rules use windows of seconds; the
promtool tests check the real ones. Exits with 1 on any fault.
"""

import re
import sys
import time
from pathlib import Path

from alert_trials.scenarios import SCENARIOS, UNTESTED
from alert_trials.stack import OFFSET, WINDOW_S, Load, Stack

ROOT = Path(__file__).resolve().parents[2]
# Bounds; nearly all scenarios take seconds.
FIRES_WITHIN_S, QUIET_WITHIN_S = 90, 120


def within(limit_s, condition):
    """Whether the condition holds within the limit."""
    since = time.monotonic()
    while not condition():
        if time.monotonic() - since > limit_s:
            return False
        time.sleep(0.5)
    return True


def run_scenario(stack, name, known):
    """Runs a scenario; returns its faults."""
    cause, fires, quiet = SCENARIOS[name]
    fires, quiet = set(fires.split()), known - set(UNTESTED) if quiet == "all" else set(quiet.split())
    faults, since = [], time.monotonic()
    seen = set()

    def all_fire():
        seen.update(stack.alerts())
        return fires <= seen

    with cause(stack):
        if not within(FIRES_WITHIN_S, all_fire):
            faults.append(f"{name}: {', '.join(sorted(fires - seen))} did not fire")
        # Slower alerts get one more window.
        time.sleep(WINDOW_S)
        seen.update(stack.alerts(since_s=time.monotonic() - since))
    wrong = seen & quiet
    if wrong:
        faults.append(f"{name}: {', '.join(sorted(wrong))} fired")
    if not within(QUIET_WITHIN_S, lambda: not stack.alerts(states="firing|pending") - set(UNTESTED)):
        faults.append(f"{name}: {', '.join(sorted(stack.alerts(states='firing|pending')))} is still active afterwards")
    print(f"{'FAILED' if faults else 'ok':<7}{time.monotonic() - since:>5.0f} s  {name}: {', '.join(sorted(seen)) or 'quiet'}", flush=True)
    return faults


def coverage(known):
    """Each alert has one true and two false causes, or is listed as untested."""
    faults = []
    for alert in sorted(known):
        true = sum(alert in fires.split() for _, fires, _ in SCENARIOS.values())
        false = sum(quiet == "all" or alert in quiet.split() for _, _, quiet in SCENARIOS.values())
        if alert in UNTESTED:
            if true:
                faults.append(f"{alert} is tested, and listed as untested")
        elif true < 1 or false < 2:
            faults.append(f"{alert} has {true} true and {false} false causes here")
    return faults + [f"there is no alert {name}" for name in sorted(set(UNTESTED) - known)]


def main():
    arguments = sys.argv[1:]
    programs = Path(arguments[0] if arguments else ROOT / "target/debug").resolve()
    wanted = arguments[1:] or list(SCENARIOS)
    rules = "".join(file.read_text() for file in (ROOT / "infra/monitoring/prometheus/rules").glob("*.yml"))
    known = set(re.findall(r"- alert: (\w+)", rules))
    faults = coverage(known)
    stack = Stack(programs)
    try:
        stack.run("up", "--stateless=2", "--stateful=2", f"--port-offset={OFFSET}")
        stack.shorten_windows()
        load = Load(stack.data)
        load.start()
        time.sleep(2 * WINDOW_S)
        for name in wanted:
            faults += run_scenario(stack, name, known)
        load.over.set()
    finally:
        stack.end()
    for alert, why in sorted(UNTESTED.items()):
        print(f"not tested here: {alert}: {why}")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
