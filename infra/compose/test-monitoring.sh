#!/usr/bin/env bash
# Tests compose.monitoring.yaml: `make compose-test-monitoring`. Everything is scraped, every expression of the rules and dashboards
# returns something, and no alert fires without a fault. Then three faults each fire their alert, and the steps of its page in
# docs/RUNBOOK.md end it.
#
#   infra/compose/test-monitoring.sh [folder of the programs]
#   OVERLAYS='ha monitoring' infra/compose/test-monitoring.sh     also tests the alerts and panels of replicas
set -euo pipefail

# shellcheck source=infra/compose/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh" "$@"
# shellcheck source=infra/monitoring/prometheus.sh
source infra/monitoring/prometheus.sh
export OVERLAYS=${OVERLAYS:-monitoring}
redis_servers=2
if [[ $OVERLAYS == *ha* ]]; then
    export REDIS_TARGETS=redis-targets-ha.yml
    redis_servers=4
fi
export BACKUP_DIR=$work/backups TEXTFILE_DIR=$work/textfile
export PROMETHEUS_PORT=${PROMETHEUS_PORT:-19090} ALERTMANAGER_PORT=${ALERTMANAGER_PORT:-19093} GRAFANA_PORT=${GRAFANA_PORT:-13000}
prometheus=http://127.0.0.1:$PROMETHEUS_PORT
mkdir "$TEXTFILE_DIR"
# The container runs as another user.
chmod 755 "$work" "$TEXTFILE_DIR"

# Ends the background traffic in every case.
traffic=
trap 'finish; [[ -z $traffic ]] || kill "$traffic" 2>/dev/null || true' EXIT
all_scraped() {
    local job
    for job in gateway stateless-svc stateful-svc; do targets_are "$job" 2 60 || return 1; done
    targets_are redis "$redis_servers" 60 || return 1
    if [[ $OVERLAYS == *ha* ]]; then
        targets_are nginx 2 60 && targets_are haproxy 1 60 || return 1
    else
        targets_are nginx 1 60 || return 1
    fi
    [[ $OVERLAYS != *ha* ]] || targets_are patroni 2 60 || return 1
    for job in prometheus alertmanager node postgres; do targets_are "$job" 1 60 || return 1; done
}
scaling_is_followed() {
    compose up -d --no-recreate --scale stateful-svc=3 && targets_are stateful-svc 3 60
}
# As cron does.
textfiles_are_written() {
    infra/compose/backup.sh create && infra/server/certificate-expiry.sh "$ca"
}
a_minute_of_load() {
    "$loadtest" during --target "$url" --cacert "$ca" --rate 200 --connections 32 --streams 4 -- sleep 60
}
grafana_has_all_dashboards() {
    local found
    found=$(curl --silent --fail --user "admin:$(<infra/compose/secrets/development/grafana_password)" \
        "http://127.0.0.1:$GRAFANA_PORT/api/search?type=dash-db" | grep -o '"uid"' | wc -l)
    [[ $found == $(find infra/monitoring/grafana/dashboards -name '*.json' | wc -l) ]]
}
alertmanager_has() { # alert
    local since=$SECONDS
    until curl --silent --fail "http://127.0.0.1:$ALERTMANAGER_PORT/api/v2/alerts" | grep -q "\"alertname\":\"$1\""; do
        ((SECONDS - since < 30)) || return 1
        sleep 1
    done
}
# Reads existing sessions, some 30 per second; failures don't matter here.
traffic() {
    local sessions=() id
    for _ in {1..30}; do
        id=$(new_session)
        sessions+=("$url/api/v1/stateful/sessions/$id")
    done
    while :; do
        curl --silent --cacert "$ca" --max-time 10 "${sessions[@]}" >/dev/null || true
        sleep 1
    done &
    traffic=$!
}

# An instance hangs, and its keys fail over. The runbook: 'One that hangs: kill it, then start it', 'Bring the instance back'.
instance_hangs() {
    hung=$(container stateful-svc)
    docker kill --signal=STOP "$hung" >/dev/null && fires InstanceDown 90 && alertmanager_has InstanceDown && fires AffinityBroken 180
}
instance_is_brought_back() {
    docker kill "$hung" >/dev/null && compose up -d --no-recreate --scale stateful-svc=3 &&
        ends InstanceDown 60 && ends AffinityBroken 420
}
# The runbook: `make start i=redis-sessions`; in containers, `up -d`.
redis_is_killed() {
    session=$(new_session)
    docker kill "$(container redis-sessions)" >/dev/null && fires RedisDown 60 && alertmanager_has RedisDown
}
redis_is_started() {
    compose up -d --no-recreate --scale stateful-svc=3 && ends RedisDown 60 &&
        curl --silent --fail --cacert "$ca" --output /dev/null "$url/api/v1/stateful/sessions/$session"
}

# shellcheck source=infra/compose/without-grafana.sh
source infra/compose/without-grafana.sh
build
say 'starting'
compose up -d
check 'healthy' all_healthy 150
((failed == 0)) || exit 1
check 'everything is scraped' all_scraped
check 'Prometheus follows the scaling' scaling_is_followed
check 'backup and certificate have metrics' textfiles_are_written
check 'a minute of load' a_minute_of_load
check 'every expression returns something' infra/monitoring/check-expressions.py "$prometheus"
check 'no alert fires' nothing_fires
[[ ${COMPOSE_PROFILES:-} == none ]] || check 'Grafana has all dashboards' grafana_has_all_dashboards
traffic
check 'an instance hangs: InstanceDown and AffinityBroken' instance_hangs
check 'killed and started: both are quiet again' instance_is_brought_back
check 'Redis is killed: RedisDown' redis_is_killed
check 'started: quiet again, and the session exists' redis_is_started
done_testing
