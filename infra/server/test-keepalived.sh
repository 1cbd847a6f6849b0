#!/usr/bin/env bash
# Two hosts with one address, in network namespaces of their own: keepalived, Nginx and a gateway on each, before one Redis and two
# instances. First the Nginx of the active host is killed, then the other host's network is cut; clients go on writing meanwhile.
# Prints how long the address took to move, and checks that no session and no acknowledged message is lost: `make keepalived-test`.
# It needs root and the programs in BIN (target/debug); without root or keepalived it says so and exits with 77.
#
#   BIN=target/release test-keepalived.sh
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail

# shellcheck source=infra/server/testing.sh
. "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

tandem=$(cd "$here/../.." && pwd)
bin=$(realpath "${BIN:-$tandem/target/debug}")
at_failure() { tail -n 15 "$work"/*/*.log; }
not_tested() { skip "keepalived was not tested: $*"; }
((EUID == 0)) || not_tested 'it takes root to make network namespaces'
for program in keepalived nginx redis-server ip; do command -v "$program" >/dev/null || not_tested "$program is not installed"; done
for program in gateway stateful-svc; do [[ -x $bin/$program ]] || not_tested "$bin has no $program; run: cargo build --workspace --bins"; done

id=tka$$
lan=$id-lan a=$id-a b=$id-b client=$id-client
at_end() {
    sleep 1
    for namespace in "$lan" "$a" "$b" "$client"; do
        # What a killed program left in its namespace.
        for pid in $(ip netns pids "$namespace" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns del "$namespace" 2>/dev/null || true
    done
}

# --- The network ----------------------------------------------------------------------------------------------------------
net=10.99.17 address=10.99.17.10
for namespace in "$lan" "$a" "$b" "$client"; do
    ip netns add "$namespace" 2>/dev/null || not_tested 'this kernel has no network namespaces for us'
    ip -n "$namespace" link set lo up
done
ip -n "$lan" link add br0 type bridge || not_tested 'this kernel has no bridges'
ip -n "$lan" addr add "$net.1/24" dev br0
ip -n "$lan" link set br0 up
join() { # namespace, its last number
    ip link add eth0 netns "$1" type veth peer name "p$2" netns "$lan"
    ip -n "$lan" link set "p$2" master br0 up
    ip -n "$1" addr add "$net.$2/24" dev eth0
    ip -n "$1" link set eth0 up
}
join "$a" 11
join "$b" 12
join "$client" 20
start() { # namespace, log, command …
    local namespace=$1 log=$2
    shift 2
    ip netns exec "$namespace" "$@" >>"$log" 2>&1 </dev/null &
    pids+=($!)
}

# --- What both hosts share ------------------------------------------------------------------------------------------------
mkdir -p "$work/lan" "$work/a" "$work/b" "$work/tls"
start "$lan" "$work/lan/redis.log" redis-server --bind "$net.1" --protected-mode no --port 6379 --dir "$work/lan" --appendonly yes --appendfsync always --save ''
for number in 1 2; do
    start "$lan" "$work/lan/stateful-$number.log" env INSTANCE_ID="stateful-$number" LISTEN_ADDR="$net.1:820$number" SESSION_REDIS_URL="redis://$net.1:6379" \
        SESSION_ID_SECRET=0123456789abcdef0123456789abcdef0123456789abcdef LOG_LEVEL=warn "$bin/stateful-svc"
done
self_signed tandem "$work/tls/key" "$work/tls/certificate" -addext "subjectAltName=IP:$address"
echo secret >"$work/tls/password"
cp "$here/keepalived/check-edge.sh" "$work/check-edge.sh"
chmod 755 "$work/check-edge.sh"

# --- Two hosts ------------------------------------------------------------------------------------------------------------
start_nginx() { # a or b
    local host=$1
    # Each host has a /run of its own.
    STATE_DIR=$work/$host/nginx LOG_DIR=$work/$host CERTIFICATE=$work/tls/certificate KEY=$work/tls/key METRICS_PASSWORD_FILE=$work/tls/password \
        SERVER_NAME=$address GATEWAY_ADDRESSES=127.0.0.1:8000 LIMIT_EXEMPT=$net.0/24 "$here/nginx.sh" render
    start "$id-$host" "$work/$host/nginx.log" nginx -e "$work/$host/error.log" -p "$work/$host/nginx" -c "$work/$host/nginx/nginx.conf"
}
own=(a 11 12 110 b 12 11 100)
for ((at = 0; at < 8; at += 4)); do
    host=${own[at]}
    mkdir -p "$work/$host/nginx"
    start "$id-$host" "$work/$host/gateway.log" env INSTANCE_ID="gateway-$host" GATEWAY_LISTEN=127.0.0.1:8000 GATEWAY_CONTROL_LISTEN=127.0.0.1:8001 \
        GATEWAY_STATEFUL_INSTANCES="$net.1:8201,$net.1:8202" GATEWAY_STATE_FILE="$work/$host/gateway.json" GATEWAY_RATE_LIMIT_EXEMPT="127.0.0.0/8,$net.0/24" \
        LOG_LEVEL=warn,access=off "$bin/gateway" --config "$tandem/gateway/config/gateway.toml"
    start_nginx "$host"
    "$here/render-keepalived.sh" --address="$address/24" --own="$net.${own[at + 1]}" --peer="$net.${own[at + 2]}" --priority="${own[at + 3]}" \
        --check="$work/check-edge.sh" >"$work/$host/keepalived.conf"
done
serves() { ip netns exec "$1" "$work/check-edge.sh"; }
wait_for 'the edge of host a' serves "$a"
wait_for 'the edge of host b' serves "$b"
# The preferred host first, so that it is the active one.
start_keepalived() {
    start "$id-$1" "$work/$1/keepalived.log" keepalived --dont-fork --log-console --use-file="$work/$1/keepalived.conf" --vrrp --pid="$work/$1/keepalived.pid" --vrrp_pid="$work/$1/vrrp.pid"
}
has_address() { ip -n "$1" -4 addr show dev eth0 | grep -q "inet $address/"; }
start_keepalived a
wait_for 'host a has the address' has_address "$a"
start_keepalived b

# --- Clients --------------------------------------------------------------------------------------------------------------
start "$client" "$work/client.log" python3 "$here/keepalived/clients.py" "$address" "$work/stop"
clients=${pids[-1]}
wait_for 'the first messages' grep -q began "$work/client.log"

moves=()
moved() { # from, to, what: since the fault of $began
    local since=$began
    for _ in {1..400}; do
        if has_address "$2"; then
            local took_ms=$((($(date +%s%N) - since) / 1000000))
            echo "$3: the address moved from $1 to $2 within $took_ms ms" | sed "s/$id-/host /g"
            moves+=("$took_ms")
            return
        fi
        sleep 0.02
    done
    fail "$3: the address did not move"
}
sleep 3
began=$(date +%s%N)
for pid in $(ip netns pids "$a"); do [[ $(<"/proc/$pid/comm") != nginx ]] || kill -KILL "$pid"; done
moved "$a" "$b" 'Nginx of the active host was killed'
wait_for 'host a gives the address up' sh -c "! ip -n $a -4 addr show dev eth0 | grep -q 'inet $address/'"
# It comes back and stays passive.
start_nginx a
sleep 6
has_address "$b" || fail 'the address moved back by itself'
began=$(date +%s%N)
ip -n "$lan" link set p12 down
moved "$b" "$a" 'the network of the active host was cut'
sleep 3

touch "$work/stop"
wait "$clients" || fail 'clients'
cat "$work/client.log"
for took_ms in "${moves[@]}"; do ((took_ms <= 3000)) || fail "the address took $took_ms ms to move, more than 3 s"; done
