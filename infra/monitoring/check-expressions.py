#!/usr/bin/env python3
"""Checks on a running Prometheus that the rules and the dashboards have data.

    check-expressions.py [URL of Prometheus, http://127.0.0.1:8090 by default]

Each query of a dashboard and each recording rule must return something. An alert that does not fire returns nothing, so each of
its series must exist. Series of an exporter that this Prometheus does not scrape, and of replicas where there are none, are
listed and skipped.
"""

import json
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARDS = Path(__file__).resolve().parent / "grafana" / "dashboards"
# The exporter by the prefix of its metrics.
EXPORTERS = {
    "node_": "node",
    "tandem_": "node",
    "redis_": "redis",
    "pg_": "postgres",
    "nginx_": "nginx",
    "alertmanager_": "alertmanager",
}
# Debian 12's exporters are too old for these.
OF_NEWER = ("pg_stat_statements_",)
# These exist only with replication: the overlay ha.
OF_REPLICAS = ("pg_stat_replication_", "redis_connected_slave_lag_seconds", "redis_master_link_up")
# These exist only with DATABASE_REPLICA_URL.
OF_READ_REPLICAS = ("database_replica_",)
# Keywords and operators that look like series.
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
# A name and its label matchers; no function, since a parenthesis follows one.
SELECTOR = re.compile(r"(?<![\w:\"])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|\w)")


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        """The data of the response."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as response:
            return json.load(response)["data"]

    def has(self, expr):
        """Whether an expression returns anything now."""
        return bool(self.get("query", query=expr)["result"])


def selectors(expr):
    """The series of an expression."""
    without_grouping = GROUPING.sub(" ", expr)
    for name, labels in SELECTOR.findall(re.sub(r"\[[^\]]*\]", " ", without_grouping)):
        if name not in WORDS and not re.fullmatch(r"\d\w*", name):
            yield name + labels


def of_dashboards():
    """Each query, with its panel."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "1m").replace("$__interval", "30s")
                yield f"{file.name}: {panel['title']}", re.sub(r"\$\w+", ".*", expr)


def main():
    prometheus = Prometheus(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8090")
    scraped = {target["labels"]["job"] for target in prometheus.get("targets")["activeTargets"]}
    rules = [(group["name"], rule) for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    if not rules:
        sys.exit("this Prometheus has no rules")
    broken = [f"{group}: {rule['name']}: {rule['lastError']}" for group, rule in rules if rule["health"] == "err"]
    # A recorded metric has the exporters of its expression.
    recorded = {rule["name"]: rule["query"] for _, rule in rules if rule["type"] == "recording"}

    statements = prometheus.has('{__name__=~"pg_stat_statements_.+"}')
    replicated = prometheus.has("redis_connected_slaves > 0")
    read_replica = prometheus.has("database_replica_serving")

    def absent(expr, depth=3):
        for selector in selectors(expr):
            name = re.split(r"\{", selector)[0]
            if name in recorded and depth:
                found = absent(recorded[name], depth - 1)
                if found:
                    return found
            job = next((job for prefix, job in EXPORTERS.items() if name.startswith(prefix)), None)
            if job and job not in scraped:
                return f"no exporter '{job}'"
            if name.startswith(OF_NEWER) and not statements:
                return "no exporter that is recent enough"
            if name.startswith(OF_REPLICAS) and not replicated:
                return "no replica"
            if name.startswith(OF_READ_REPLICAS) and not read_replica:
                return "no read replica"
        return None

    checked = [(f"rule {rule['name']}", rule["query"], [rule["query"]]) for _, rule in rules if rule["type"] == "recording"]
    checked += [(f"alert {rule['name']}", rule["query"], list(selectors(rule["query"]))) for _, rule in rules if rule["type"] == "alerting"]
    checked += [(where, expr, [expr]) for where, expr in of_dashboards()]
    silent, skipped = [], {}
    for where, whole, parts in checked:
        for part in parts:
            if prometheus.has(part):
                continue
            why = absent(part) or (absent(whole) if part == whole else None)
            if why:
                skipped.setdefault(why, set()).add(where)
            else:
                silent.append(f"{where}\n    {part}")
    for why, names in sorted(skipped.items()):
        print(f"skipped, {why}: {len(names)}: {', '.join(sorted(names))}")
    print(f"{len(checked)} expressions of rules, alerts and dashboards; {len(silent)} return nothing, {len(broken)} fail")
    for line in silent + broken:
        print(line, file=sys.stderr)
    sys.exit(1 if silent or broken else 0)


if __name__ == "__main__":
    main()
