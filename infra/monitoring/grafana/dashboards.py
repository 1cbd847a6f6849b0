#!/usr/bin/env python3
"""Tandem's dashboards. Change them here, then run `make dashboards`, which generates dashboards/*.json.

    dashboards.py            writes the files that Grafana reads
    dashboards.py --check    fails if they differ from what this generates, or if a panel is inconsistent
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

HERE = Path(__file__).resolve().parent
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
# Grafana's grid.
COLUMNS, HEIGHT = 24, 8
# Excludes streams, whose duration is no latency.
NO_STREAMS = 'http_route!~".+/(events|live)"'


def queries(panel, given):
    """Adds queries: one expression, or pairs of legend and expression."""
    pairs = [("", given)] if isinstance(given, str) else given
    for number, (legend, expr) in enumerate(pairs):
        query = prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").ref_id(chr(ord("A") + number))
        panel = panel.with_target(query.datasource(SOURCE))
    return panel


def graph(title, unit, given, about="", span=8):
    """A time series."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).span(span).height(HEIGHT)
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(LegendPlacement.BOTTOM))
    panel = panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    return queries(panel.datasource(SOURCE).fill_opacity(8).line_width(1), given)


def number(title, unit, expr, about="", span=4):
    """The current value."""
    panel = stat.Panel().title(title).description(about).unit(unit).span(span).height(4)
    panel = panel.graph_mode(BigValueGraphMode.AREA)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return queries(panel.datasource(SOURCE), expr)


def board(uid, title, about, rows):
    """A dashboard of rows; each has a title and panels."""
    built = dashboard.Dashboard(title).uid(uid).description(about).tags(["tandem"]).refresh("10s")
    built = built.time("now-30m", "now").readonly()
    for name, panels in rows:
        built = built.with_row(dashboard.Row(name))
        for panel in panels:
            built = built.with_panel(panel)
    return built.build()


def by_pool(series):
    """Derives the label `pool` from the route."""
    return f'label_replace({series}, "pool", "$2", "http_route", "/api/(v1/)?(stateless|stateful)/.*")'


def quantile(share, metric, by, selector):
    """A quantile of a histogram."""
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"


def system():
    disks = 'fstype!~"tmpfs|overlay|squashfs"'
    return board("tandem-system", "Tandem: system health", "The host and the processes on it.", [
        ("Host", [
            graph("CPU", "percentunit", [("{{mode}}", 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$__rate_interval])) / on () group_left () count(count by (cpu) (node_cpu_seconds_total))')],
                  "Share of all cores, by mode."),
            graph("Memory", "bytes", [("available", "node_memory_MemAvailable_bytes"), ("total", "node_memory_MemTotal_bytes")]),
            graph("Disk, free", "percentunit", [("{{mountpoint}}", f"node_filesystem_avail_bytes{{{disks}}} / node_filesystem_size_bytes")],
                  "Redis and PostgreSQL stop when it is full."),
            graph("Network", "Bps", [("{{device}} in", 'rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval])'),
                                     ("{{device}} out", '-rate(node_network_transmit_bytes_total{device!="lo"}[$__rate_interval])')]),
            graph("Disk utilisation", "percentunit", [("{{device}}", "rate(node_disk_io_time_seconds_total[$__rate_interval])")]),
            graph("Load", "short", [("1 min", "node_load1"), ("15 min", "node_load15")]),
        ]),
        ("Processes", [
            graph("CPU", "short", [("{{job}} {{instance}}", "rate(process_cpu_seconds_total[$__rate_interval])")], "Cores in use."),
            graph("Memory", "bytes", [("{{job}} {{instance}}", "process_resident_memory_bytes")], "Resident set."),
            graph("File descriptors", "percentunit", [("{{job}} {{instance}}", "process_open_fds / process_max_fds")], "Without a free one, no connection is accepted."),
            graph("Uptime", "s", [("{{job}} {{instance}}", "time() - process_start_time_seconds")], "Falls to 0 with a restart.", span=12),
            graph("Targets up", "short", [("{{job}}", "sum by (job) (up)")], span=12),
        ]),
    ])


def application():
    count = "http_server_request_duration_seconds_count"
    api = 'job="gateway",http_route=~"/api/.+"'
    return board("tandem-application", "Tandem: application", "Requests at the gateway, as clients see them, and in the services.", [
        ("Now", [
            number("Requests/s", "reqps", "gateway:http_server_requests:rate5m"),
            number("Errors", "percentunit", "gateway:http_server_errors:ratio_rate5m", "5xx; the objective is 0.1 % per month."),
            number("p99, stateless", "s", 'pool:http_server_request_duration_seconds:p99_5m{pool="stateless"}', "The objective is 200 ms."),
            number("p99, stateful", "s", 'pool:http_server_request_duration_seconds:p99_5m{pool="stateful"}', "The objective is 500 ms."),
            number("In flight", "short", 'sum(http_server_active_requests{job="gateway"})'),
            number("Burn rate, 1 h", "short", "gateway:http_server_errors:ratio_rate1h / 0.001", "1 spends the error budget in exactly a month; alerts at 14.4."),
        ]),
        ("At the gateway", [
            graph("Requests", "reqps", [("{{pool}}", f"sum by (pool) ({by_pool(f'rate({count}{{{api}}}[$__rate_interval])')})")]),
            graph("Responses by status", "reqps", [("{{http_response_status_code}}", f"sum by (http_response_status_code) (rate({count}{{{api}}}[$__rate_interval]))")]),
            graph("Duration by route, p99", "s", [("{{http_route}}", quantile(0.99, "http_server_request_duration_seconds", "http_route", f"{api},{NO_STREAMS}"))]),
            graph("Duration", "s", [(f"p{int(share * 100)}", quantile(share, "http_server_request_duration_seconds", "job", f"{api},{NO_STREAMS}")) for share in (0.5, 0.9, 0.99)]),
            graph("Rejected headers", "reqps", [("{{fault}}", "sum by (fault) (rate(gateway_refused_requests_total[$__rate_interval])) > 0 or on () vector(0)")],
                  "Requests rejected for their header, by fault."),
            graph("Shed", "reqps", [("{{pool}} {{reason}}", "sum by (pool, reason) (rate(gateway_requests_shed_total[$__rate_interval]))")],
                  "Rejected before they reached an instance: rate limits, full instances, overloaded pools."),
        ]),
        ("In the services", [
            graph("Requests by instance", "reqps", [("{{job}} {{instance}}", f'sum by (job, instance) (rate({count}{{job=~"stateless-svc|stateful-svc"}}[$__rate_interval]))')]),
            graph("p99 by service", "s", [("{{job}}", quantile(0.99, "http_server_request_duration_seconds", "job", f'job=~"stateless-svc|stateful-svc",{NO_STREAMS}'))]),
            graph("Waiting for a connection", "short", [("{{job}} {{db_client_connection_pool_name}}", "sum by (job, db_client_connection_pool_name) (db_client_connection_pending_requests)")]),
        ]),
    ])


def database():
    statements = "pg_stat_statements_seconds_total"
    return board("tandem-database", "Tandem: database", "PostgreSQL, and the services' connections to it.", [
        ("Connections", [
            graph("By state", "short", [("{{state}}", "sum by (state) (pg_stat_activity_count)")]),
            graph("Of max_connections", "percentunit", [("{{instance}}", "instance:pg_connections:ratio")], "Alerts at 80 %."),
            graph("Of the services' pools", "short", [("{{instance}} {{db_client_connection_state}}", 'db_client_connection_count{db_client_connection_pool_name="postgres"}'),
                                                      ("{{instance}} waiting", 'db_client_connection_pending_requests{db_client_connection_pool_name="postgres"}')]),
        ]),
        ("Queries", [
            graph("Transactions", "ops", [("committed", "sum(rate(pg_stat_database_xact_commit[$__rate_interval]))"), ("rolled back", "sum(rate(pg_stat_database_xact_rollback[$__rate_interval]))")]),
            graph("Time by query", "s", [("{{queryid}}", f"topk(10, sum by (queryid) (rate({statements}[$__rate_interval])))")],
                  "Seconds per second, the top ten; pg_stat_statements has the query of an id."),
            graph("Mean duration by query", "s", [("{{queryid}}", f"topk(10, sum by (queryid) (rate({statements}[$__rate_interval])) / (sum by (queryid) (rate(pg_stat_statements_calls_total[$__rate_interval])) > 0))")]),
            graph("Rows", "ops", [("fetched", "sum(rate(pg_stat_database_tup_fetched[$__rate_interval]))"), ("written", "sum(rate(pg_stat_database_tup_inserted[$__rate_interval]) + rate(pg_stat_database_tup_updated[$__rate_interval]))")]),
            graph("Buffer hit ratio", "percentunit", [("{{datname}}", 'sum by (datname) (rate(pg_stat_database_blks_hit{datname="tandem"}[$__rate_interval])) / (sum by (datname) (rate(pg_stat_database_blks_hit{datname="tandem"}[$__rate_interval]) + rate(pg_stat_database_blks_read{datname="tandem"}[$__rate_interval])) > 0)')]),
            graph("Deadlocks", "short", [("{{datname}}", 'increase(pg_stat_database_deadlocks{datname="tandem"}[5m])')]),
        ]),
        ("Size and replication", [
            graph("Size", "bytes", [("{{datname}}", 'pg_database_size_bytes{datname="tandem"}')], span=12),
            graph("Behind the primary", "bytes", [("{{application_name}}", "pg_stat_replication_pg_wal_lsn_diff")], span=12),
            graph("Lists by server", "ops", [("{{read}} {{source}}", "sum by (read, source) (rate(database_reads_total[$__rate_interval]))")], "Lists of products and of the audit log, from the primary or the read replica."),
            graph("Read replica: share of reads", "percentunit", [("{{read}}", '1 - sum by (read) (rate(database_reads_total{source="primary"}[$__rate_interval])) / sum by (read) (rate(database_reads_total[$__rate_interval]))')],
                  "Of lists. The rest is read from the primary: by users whose changes the replica may lack, and while it is away."),
            graph("Read replica: lag", "s", [("{{instance}}", "database_replica_lag_seconds")], "Since when it may lack changes."),
            graph("Read replica: fallbacks", "ops", [("{{read}} {{reason}}", "sum by (read, reason) (rate(database_replica_fallbacks_total[$__rate_interval]))")], "Reads of the primary although there is a replica."),
            graph("Read replica: serving", "short", [("{{instance}}", "database_replica_serving")], "1: it is read."),
        ]),
    ])


def redis():
    return board("tandem-redis", "Tandem: Redis", "The Redis of the sessions, which must persist everything, and that of the cache, which may evict.", [
        ("Memory and keys", [
            graph("Memory", "bytes", [("{{instance}}", "redis_memory_used_bytes"), ("{{instance}}, limit", "redis_memory_max_bytes")]),
            graph("Keys", "short", [("{{instance}}", "sum by (instance) (redis_db_keys)")]),
            graph("Evicted", "ops", [("{{instance}}", "rate(redis_evicted_keys_total[$__rate_interval])")], "Must stay 0 for the sessions."),
        ]),
        ("Commands", [
            graph("Hit rate", "percentunit", [("{{instance}}", "instance:redis_keyspace_hits:ratio_rate5m")], "Of key lookups."),
            graph("Commands", "ops", [("{{instance}}", "rate(redis_commands_processed_total[$__rate_interval])")]),
            graph("Time by command", "s", [("{{instance}} {{cmd}}", "topk(10, sum by (instance, cmd) (rate(redis_commands_duration_seconds_total[$__rate_interval])))")], "Seconds per second."),
            graph("Clients", "short", [("{{instance}}", "redis_connected_clients")]),
            graph("Cache lookups of the services", "ops", [("{{outcome}}", "sum by (outcome) (rate(cache_requests_total[$__rate_interval]))")]),
            graph("Documents loaded for the cache", "ops", [("{{outcome}}", "sum by (outcome) (rate(cache_fills_total[$__rate_interval]))")], "Outdated and unsettled ones met a write of the same product, or of any for a page."),
            graph("Generations ended by writes", "ops", [("{{outcome}}", "sum by (outcome) (rate(cache_marks_total[$__rate_interval]))")], "A write whose mark failed was rejected."),
            graph("Connections of the services' pools", "short", [("{{db_client_connection_pool_name}} {{db_client_connection_state}}", 'sum by (db_client_connection_pool_name, db_client_connection_state) (db_client_connection_count{db_client_connection_pool_name=~"redis-.+"})')]),
        ]),
        ("Persistence and replication", [
            graph("Append-only file", "bytes", [("{{instance}}", 'redis_aof_current_size_bytes{instance=~"redis-sessions.*"}')]),
            graph("Last write of the file", "short", [("{{instance}}", 'redis_aof_last_write_status{instance=~"redis-sessions.*"}')], "1: succeeded."),
            graph("Replicas", "short", [("{{instance}}", "redis_connected_slaves")]),
        ]),
    ])


def business():
    count = 'http_server_request_duration_seconds_count{job="gateway"'
    return board("tandem-business", "Tandem: sessions, users and API usage", "Usage of sessions and endpoints.", [
        ("Now", [
            number("Active sessions", "short", "service:stateful_sessions_live:sum", "Used within the idle time.", span=6),
            number("New sessions/min", "short", '60 * sum(rate(stateful_session_writes_total{act="create",outcome="ok"}[5m]))', span=6),
            number("Messages/min", "short", '60 * sum(rate(stateful_session_writes_total{act="append",outcome="ok"}[5m]))', span=6),
            number("Live connections", "short", "sum(stateful_live_connections)", "Event streams and WebSockets.", span=6),
        ]),
        ("Sessions", [
            graph("Active by instance", "short", [("{{instance}}", "stateful_sessions_live")]),
            graph("Created and deleted", "ops", [("created", 'sum(rate(stateful_session_writes_total{act="create",outcome="ok"}[$__rate_interval]))'), ("deleted", 'sum(rate(stateful_session_writes_total{act="delete",outcome="ok"}[$__rate_interval]))')]),
            graph("Lost", "short", [("{{instance}}", "stateful_sessions_lost_total")], "Must stay 0."),
        ]),
        ("API usage", [
            graph("By endpoint", "reqps", [("{{http_request_method}} {{http_route}}", f'topk(12, sum by (http_request_method, http_route) (rate({count},http_route=~"/api/.+"}}[$__rate_interval])))')], span=12),
            graph("By version", "reqps", [("{{version}}", f'sum by (version) (label_replace(label_replace(rate({count},http_route=~"/api/.+"}}[$__rate_interval]), "version", "legacy", "http_route", "/api/.*"), "version", "v1", "http_route", "/api/v1/.*"))')], "Requests to the legacy paths.", span=6),
            graph("Rate-limited requests", "reqps", [("{{pool}}", 'sum by (pool) (rate(gateway_requests_shed_total{reason="client_rate"}[$__rate_interval]))')], span=6),
        ]),
    ])


def accounts():
    recorded = "sum by (action) (rate(accounts_audit_recorded_total[$__rate_interval]))"
    return board("tandem-accounts", "Tandem: accounts", "Users, logins, and what the audit log records of them.", [
        ("Now", [
            number("Users", "short", "sum(max by (role, state) (accounts_users))", "Deleted ones do not count.", span=6),
            number("Logins/min", "short", '60 * service:accounts_logins:rate5m{outcome="accepted"}', span=6),
            number("Refused logins/min", "short", '60 * sum(service:accounts_logins:rate5m{outcome=~"rejected|must_wait"})', "Alerts at 60.", span=6),
            number("Passwords that wait", "short", "sum(accounts_password_queue)", "For a hash.", span=6),
        ]),
        ("Users and logins", [
            graph("Users by role", "short", [("{{role}} {{state}}", "max by (role, state) (accounts_users)")], "Each instance counts all of them every minute.", span=12),
            graph("Registrations", "ops", [("registered", "sum(rate(accounts_registered_total[$__rate_interval]))")], span=12),
            graph("Logins by outcome", "ops", [("{{outcome}}", "sum by (outcome) (rate(accounts_logins_total[$__rate_interval]))")],
                  "rejected: an unknown user or a wrong password. must_wait: after failures. failed: overload, an outage or an invalid body.", span=12),
            graph("Password queue", "short", [("{{instance}}", "accounts_password_queue")], "16 wait for each thread; the next gets 503. Alerts at 8.", span=12),
        ]),
        ("Tokens", [
            graph("Refresh tokens used twice", "short", [("{{instance}}", "increase(accounts_refresh_tokens_reused_total[15m])")], "Each ended its login; alerts."),
            graph("Age of the keys", "s", [("{{job}} {{instance}}", "token_keys_age_seconds")], "Fetched every 30 s; alerts at 3 min."),
            graph("Fetches of the keys", "ops", [("{{job}} {{outcome}}", "sum by (job, outcome) (rate(token_keys_fetches_total[$__rate_interval]))")]),
        ]),
        ("Revocations", [
            graph("Age of the oldest that waits", "s", [("{{instance}}", "accounts_revocation_lag_seconds")], "Delivered within a second; alerts at 10 s."),
            graph("Waiting", "short", [("{{instance}}", "accounts_revocations_waiting")], "Of all instances."),
            graph("Deliveries", "ops", [("{{outcome}}", "sum by (outcome) (rate(accounts_revocation_deliveries_total[$__rate_interval]))")],
                  "failed: no response, or one of an outage. rejected: the configurations differ."),
        ]),
        ("Files", [
            graph("Uploads by outcome", "ops", [("{{outcome}}", "sum by (outcome) (rate(files_uploads_total[$__rate_interval]))")],
                  "broken_off: by the client. failed: the database or the store; alerts at 5 %. over_quota: the user's files take too much space."),
            graph("Rejected for a quota", "percentunit", [("share", 'sum(rate(files_uploads_total{outcome="over_quota"}[$__rate_interval])) / sum(rate(files_uploads_total[$__rate_interval]))')],
                  "Of all uploads; alerts at 20 %."),
            graph("Stored", "Bps", [("bytes", "sum(rate(files_stored_bytes_total[$__rate_interval]))")]),
            graph("Uploads in flight", "short", [("{{instance}}", "files_uploads_in_flight")]),
            graph("Swept", "short", [("{{kind}}", "sum by (kind) (increase(files_swept_total[15m]))")],
                  "What broken uploads and deletions left. content: it had no row, which pages."),
            graph("Last sweep", "s", [("any instance", "time() - max(files_sweep_last_success_timestamp_seconds)")],
                  "Twice a minute by each instance; alerts at 15 min."),
        ]),
        ("Audit log", [
            graph("Rows by action", "ops", [("{{action}}", recorded)], "Refused requests count one by one; a row has those of an address and minute.", span=12),
            graph("Partitions, last check", "s", [("any instance", "time() - max(accounts_audit_partitions_last_success_timestamp_seconds)")],
                  "Every hour by each instance; alerts at 3 h.", span=12),
        ]),
    ])


def routing():
    return board("tandem-routing", "Tandem: routing", "Where requests go and why, for both strategies.", [
        ("Verdicts", [
            graph("Stateful requests by verdict", "reqps", [("{{verdict}}", 'pool:gateway_affinity:rate5m{pool="stateful"}')],
                  "home: the key's first choice. new: a newly minted key. failover, spilled: the first choice was down or over its load bound. off: round robin."),
            graph("Away from home", "percentunit", [("{{pool}}", 'pool:gateway_affinity_missed:ratio_rate5m{pool="stateful"}')], "Failed over or spilled; alerts at 5 %."),
            graph("Reads from memory", "percentunit", [("share", "service:stateful_session_reads_from_memory:ratio_rate5m")], "The benefit of sticky routing."),
        ]),
        ("Instances", [
            graph("Requests by instance", "reqps", [("{{upstream}}", "sum by (upstream) (rate(gateway_upstream_requests[$__rate_interval]))")]),
            graph("Sessions at home, by instance", "short", [("{{upstream}}", "max by (upstream) (gateway_upstream_live_sessions)")]),
            graph("In flight by instance", "short", [("{{upstream}}", "upstream:gateway_upstream_in_flight:sum")]),
            graph("Healthy instances", "short", [("{{pool}}", "max by (pool) (sum by (pool, instance) (gateway_upstream_healthy))")], "Steps are membership changes."),
            graph("Draining", "short", [("{{upstream}}", "max by (upstream) (gateway_upstream_draining)")]),
            graph("Ejections", "short", [("{{pool}} {{reason}}", "sum by (pool, reason) (increase(gateway_upstream_ejections_total[5m]))")], "Instances ejected for failed requests."),
        ]),
        ("Keys that move", [
            graph("Handovers", "ops", [("handovers", "sum(rate(stateful_handover_seconds_count[$__rate_interval]))")], "Sessions whose holder changed."),
            graph("Handover, p99", "s", [("p99", "service:stateful_handover_seconds:p99_5m")]),
            graph("Copies dropped", "ops", [("{{event}}", "sum by (event) (rate(stateful_drops_total[$__rate_interval]))")]),
        ]),
        ("Failures hidden from clients", [
            graph("Retries", "reqps", [("{{pool}}", "sum by (pool) (rate(gateway_upstream_retries_total[$__rate_interval]))"), ("{{pool}}, refused", "sum by (pool) (rate(gateway_upstream_retries_refused_total[$__rate_interval]))")]),
            graph("Upstream response time, p99", "s", [("{{pool}}", quantile(0.99, "gateway_upstream_request_duration_seconds", "pool", ""))]),
            graph("Configurations in use", "short", [("configurations", "count(count by (fingerprint) (gateway_config_info))")], "More than one: the gateways differ."),
        ]),
    ])


def faults(name, model):
    """Inconsistencies of a dashboard."""
    ids, taken = set(), set()
    for panel in model["panels"]:
        where = f"{name}: '{panel['title']}'"
        if panel.get("id") in ids:
            yield f"{where} has the id of another panel"
        ids.add(panel.get("id"))
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        if cells & taken or place["x"] + place["w"] > COLUMNS:
            yield f"{where} overlaps another panel or the edge"
        taken |= cells
        if panel["type"] == "row":
            continue
        if not panel.get("targets") or not all(target.get("expr") for target in panel["targets"]):
            yield f"{where} has no query"
        if any(target["datasource"]["uid"] != SOURCE.uid for target in panel["targets"]):
            yield f"{where} queries an unknown data source"


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wrong = []
    made = {}
    for make in (system, application, database, redis, business, accounts, routing):
        built = make()
        # Without ids, Grafana would renumber panels with each change.
        for number_of_panel, panel in enumerate(built.panels, start=1):
            panel.id_val = number_of_panel
        text = JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"
        made[HERE / "dashboards" / f"{make.__name__}.json"] = text
        wrong += faults(make.__name__, json.loads(text))
    for file, text in made.items():
        if not check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            wrong.append(f"{file.name} differs from what dashboards.py generates: run `make dashboards`")
    wrong += [f"{file.name} is not generated by dashboards.py" for file in (HERE / "dashboards").glob("*.json") if file not in made]
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
