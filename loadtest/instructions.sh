#!/usr/bin/env bash
# Counts the instructions that a program spends on one request, which no other load on the machine disturbs:
#
#   loadtest/instructions.sh gateway target/release           # of these binaries
#   loadtest/instructions.sh stateless-svc target/release     # the service, without the gateway
#
# It runs under valgrind's callgrind, for 500 and for 2,500 requests (`GET info`, one connection); the difference by 2,000
# leaves out what the start costs. Variables such as OTEL_EXPORTER_OTLP_ENDPOINT reach the program.
set -euo pipefail

program=${1:?gateway or stateless-svc} binaries=${2:?the folder of the binaries}
few=500 many=2500 gateway_port=18000 control_port=18001 service_port=18101
command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind' >&2; exit 1; }

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
cat >"$work/gateway.toml" <<TOML
[server]
listen = "127.0.0.1:$gateway_port"
threads = 1
grace_period_s = 1
[control]
listen = "127.0.0.1:$control_port"
[health]
interval_ms = 3600000
timeout_ms = 60000
[pools.stateless]
instances = ["127.0.0.1:$service_port"]
[pools.stateful]
instances = []
TOML

# Starts a program, by way of what its name follows.
start() {
    LISTEN_ADDR=127.0.0.1:$service_port WORKERS=1 SHUTDOWN_TIMEOUT_S=1 "$@" >/dev/null 2>"$work/stderr" &
    pids+=($!)
}

answers() { curl -so /dev/null --fail --retry 100 --retry-delay 1 --retry-all-errors "$1"; }

# Prints how many instructions the program spent in all when it answered this many requests.
total() {
    local count=$1 port=$service_port
    local valgrind=(valgrind --tool=callgrind --callgrind-out-file=/dev/null)
    if [ "$program" = gateway ]; then
        port=$gateway_port
        start env -u OTEL_EXPORTER_OTLP_ENDPOINT "$binaries/stateless-svc"
        answers "http://127.0.0.1:$service_port/health"
        start "${valgrind[@]}" "$binaries/gateway" --config "$work/gateway.toml"
    else
        start "${valgrind[@]}" "$binaries/stateless-svc"
    fi
    local url="http://127.0.0.1:$port/api/v1/stateless/info"
    answers "$url"
    curl -s --fail "$url?[1-$count]" -o /dev/null
    kill -TERM "${pids[-1]}"
    wait "${pids[-1]}" || true
    kill "${pids[@]}" 2>/dev/null || true
    wait || true
    pids=()
    awk '/Collected/ { print $NF }' "$work/stderr"
}

first=$(total $few)
second=$(total $many)
echo "$program: $(((second - first) / (many - few))) instructions a request"
