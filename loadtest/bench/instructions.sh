#!/usr/bin/env bash
# Counts the gateway's instructions per request in user space, by callgrind: `make instructions`.
#
# Half of the requests are stateless, half sticky with a cookie, on 16 connections of wrk, as in
# `loadtest bench`. Needs valgrind and wrk. Counts do not depend on what else the machine does, but
# on how many requests are ready at once, so they vary by some per cent.
#
# Usage: instructions.sh LOADTEST GATEWAY...
set -euo pipefail

loadtest=$(realpath "${1:?usage: instructions.sh LOADTEST GATEWAY...}")
shift
gateways=()
for gateway in "$@"; do gateways+=("$(realpath "$gateway")"); done
work=$(mktemp -d)
cleanup() {
    local running
    running=$(jobs -p)
    # shellcheck disable=SC2086 # one word for each
    [[ -z $running ]] || { kill -9 $running && wait $running; } 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Waits for a condition, for 60 s at most.
wait_for() {
    local tries=0
    until "$@"; do
        ((++tries < 300)) || { echo "error: timed out: $*" >&2; tail -n 20 "$work"/* >&2; exit 1; }
        sleep 0.2
    done
}
# The address of an origin, which prints lines of the form `NAME ADDRESS`.
address() { awk -v name="$1" '$1 == name { print $2 }' "$work/origins"; }
serves() { curl -sf -o /dev/null -b affinity=0badcafe "http://$listen$1"; }
lines() { wc -l <"$work/access.log"; }

"$loadtest" origins stateless-1 stateless-2 stateful-1 stateful-2 >"$work/origins" &
all_listen() { (($(wc -l <"$work/origins") == 4)); }
wait_for all_listen

stateless=/api/v1/stateless/info
sticky=/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff
cat >"$work/requests.lua" <<LUA
local fields = { ["User-Agent"] = "instructions", ["Accept"] = "*/*" }
local sticky = { ["User-Agent"] = "instructions", ["Accept"] = "*/*", ["Cookie"] = "affinity=0badcafe" }
local sent = 0
request = function()
    sent = sent + 1
    if sent % 2 == 0 then return wrk.format("GET", "$stateless", fields) end
    return wrk.format("GET", "$sticky", sticky)
end
LUA

for gateway in "${gateways[@]}"; do
    listen=127.0.0.1:$(port)
    sed -e "s/{listen}/$listen/; s/{control}/127.0.0.1:$(port)/; s/{threads}/1/; s/{exchange}/plain/" \
        -e 's/{max_clients}/1000/; s/{protocol}//' \
        -e "s/{stateless-1}/$(address stateless-1)/; s/{stateless-2}/$(address stateless-2)/" \
        -e "s/{stateful-1}/$(address stateful-1)/; s/{stateful-2}/$(address stateful-2)/" \
        "$(dirname "$0")/gateway.toml" >"$work/gateway.toml"
    GATEWAY_STATE_FILE=$work/state GATEWAY_UPGRADE_SOCK=$work/upgrade.sock valgrind --tool=callgrind --instr-atstart=no \
        --callgrind-out-file="$work/callgrind.out" "$gateway" --config "$work/gateway.toml" \
        >"$work/access.log" 2>"$work/gateway.err" &
    pid=$!
    wait_for serves "$stateless"
    wait_for serves "$sticky"
    load() { wrk -t1 -c16 -d"$1" -s "$work/requests.lua" "http://$listen" >"$work/wrk"; }
    load 2s
    before=$(lines)
    callgrind_control -i on "$pid" >/dev/null 2>&1
    load 5s
    callgrind_control -i off "$pid" >/dev/null 2>&1
    kill -INT "$pid"
    wait "$pid" || true
    # The access log has a line for each request, and is written until the end.
    requests=$(($(lines) - before))
    if ((requests < 1000)) || grep -q 'Non-2xx' "$work/wrk"; then
        echo "error: $gateway: $requests requests were counted" >&2
        cat "$work/wrk" "$work/gateway.err" >&2
        exit 1
    fi
    counted=$(awk '/Collected :/ { print $4 }' "$work/gateway.err")
    echo "$((counted / requests)) instructions per request, $requests requests: $gateway"
done
