#!/usr/bin/env bash
# Checks on a local stack that every rule and dashboard has data: `make monitoring-test`. Starts a stack of its own beside
# whatever runs, and removes it at the end.
#
#   infra/monitoring/test.sh [folder of the programs]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=infra/monitoring/prometheus.sh
source infra/monitoring/prometheus.sh
programs=${1:-target/debug}
offset=${PORT_OFFSET:-7000}
prometheus=http://127.0.0.1:$((8090 + offset))
state=$(mktemp -d)
stack() { "$programs/local-stack" --state "$state/stack" "$@"; }
finish() {
    stack down >/dev/null 2>&1 || true
    if [[ -f $state/stack/shared ]]; then rm -rf -- "$(<"$state/stack/shared")"; fi
    rm -rf "$state"
}
trap finish EXIT

stack up --stateful=2 --port-offset="$offset" >/dev/null
targets_are stateful-svc 2 60
stack scale stateful=3 stateless=3 >/dev/null
targets_are stateful-svc 3 60
targets_are stateless-svc 3 60
echo 'Prometheus follows the scaling.'
"$programs/loadtest" during --target "https://127.0.0.1:$((8443 + offset))" --cacert "$state/stack/tls/ca.pem" --rate 200 \
    --connections 32 --streams 4 -- sleep 60
infra/monitoring/check-expressions.py "$prometheus"
nothing_fires
echo 'No alert fires.'
