#!/usr/bin/env bash
# Tries the containers for real: `make compose-test`. It builds the images, starts the system under a project name and on
# ports of its own, and takes it and its volumes away in the end. It needs a Docker engine, the base images (or a registry to
# pull them from), and the programs that `cargo build --workspace --bins` makes.
#
#   infra/compose/test.sh [folder of the programs]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
programs=${1:-target/debug}
loadtest=$programs/loadtest
work=$(mktemp -d)

# The environment wins over .env, whatever that says.
export COMPOSE_PROJECT_NAME=tandem-test TANDEM_MODE=development OVERLAYS=
export HTTPS_PORT=${HTTPS_PORT:-18443} HTTP_PORT=${HTTP_PORT:-18080} CONTROL_PORTS=${CONTROL_PORTS:-18001-18004}
# A load test must measure the system and not the limit.
export LIMIT_EXEMPT=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16
export LOG_LEVEL=info,access=off
url=https://localhost:$HTTPS_PORT
ca=$work/ca.pem
failed=0

compose() { infra/compose/compose.sh "$@"; }
say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }
check() { # what, command …
    local what=$1
    shift
    say "$what"
    if "$@"; then echo "ok: $what"; else
        echo "FAILED: $what" >&2
        failed=$((failed + 1))
    fi
}
finish() {
    local status=$?
    if ((status || failed)); then
        compose ps >&2 || true
        compose logs --tail=40 >&2 || true
    fi
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

# All containers, that of Nginx last, and both pools as the gateway sees them through its readiness.
all_healthy() { # seconds
    local deadline=$((SECONDS + $1)) id states
    while :; do
        states=$(for id in $(compose ps -q); do docker inspect -f '{{.State.Health.Status}}' "$id"; done | sort -u)
        if [[ $states == healthy ]] && answers; then return 0; fi
        if ((SECONDS > deadline)); then
            echo "after $1 s: $(echo "$states" | tr '\n' ' ')" >&2
            return 1
        fi
        sleep 1
    done
}
answers() {
    local path
    trust
    for path in /api/v1/stateless/products?limit=1 /health; do
        curl --silent --fail --cacert "$ca" --output /dev/null "$url$path" || return 1
    done
    curl --silent --fail --cacert "$ca" --output /dev/null --header 'Content-Type: application/json' --data '{}' \
        "$url/api/v1/stateful/sessions"
}
# A container that is made anew makes a certificate anew.
trust() { compose exec -T nginx cat /run/tandem/tls/authority.pem >"$ca" 2>/dev/null; }
# The names that the gateway's metrics give to healthy instances of a pool.
members() { # pool
    curl --silent --fail --cacert "$ca" --user "metrics:$(<infra/compose/secrets/development/metrics_password)" "$url/metrics" |
        sed -n "s/^gateway_upstream_healthy{pool=\"$1\",upstream=\"\(.*\)\"} 1\$/\1/p" | sort | tr '\n' ' '
}
members_are() { # pool, names …
    local pool=$1 deadline=$((SECONDS + 30))
    shift
    # Either of the gateways answers, so both must say so several times in a row.
    local agreed=0
    while ((agreed < 6)); do
        if [[ "$(members "$pool")" == "$* " ]]; then agreed=$((agreed + 1)); else agreed=0; fi
        if ((SECONDS > deadline)); then
            echo "$pool has: $(members "$pool"), not: $*" >&2
            return 1
        fi
        sleep 0.3
    done
}
during() { # command …
    "$loadtest" during --target "$url" --cacert "$ca" --rate 200 --connections 32 --streams 4 --timeout 20s --settle 8s -- "$@"
}
api_table() {
    TANDEM_TARGET=$url TANDEM_CACERT=$ca cargo test --quiet --workspace --test e2e -- --ignored --exact \
        api_table::every_row_is_the_same_at_a_running_system
}
# A client knows what it has said, so an answer that lacks it is a wrong one.
nothing_lost() { # report
    ! grep -E '^failed .*(wrong_answer|session_not_found)' "$1"
}
hardened() {
    local id name state=0
    for id in $(compose ps -q); do
        name=$(docker inspect -f '{{.Name}}' "$id")
        if [[ $(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$id") != true ]]; then
            echo "$name can write to its root" >&2
            state=1
        fi
        case $(docker inspect -f '{{.Config.User}}' "$id") in
            '' | root | 0 | 0:0)
                echo "$name runs as root" >&2
                state=1
                ;;
        esac
    done
    return "$state"
}
sizes() {
    local name base size limit=60 state=0
    for name in gateway stateless-svc stateful-svc nginx; do
        base=debian:bookworm-slim
        [[ $name == nginx ]] && base=nginx:1.28-bookworm
        size=$((($(docker inspect -f '{{.Size}}' "tandem/$name:0.1.0") - $(docker inspect -f '{{.Size}}' "$base")) / 1000000))
        echo "tandem/$name: $size MB beyond $base"
        ((size < limit)) || state=1
    done
    return "$state"
}
production_refuses() {
    # With the secrets of development in the place of production's.
    local told
    told=$(TANDEM_MODE=development compose run --rm --no-deps -T -e TANDEM_MODE=production stateful-svc 2>&1) && return 1
    echo "$told" | grep 'everybody knows'
}
survives_down_and_up() {
    local id
    id=$(curl --silent --fail --cacert "$ca" --header 'Content-Type: application/json' --data '{"client_data":{"name":"Ada"}}' \
        "$url/api/v1/stateful/sessions" | sed 's/.*"session_id":"\([^"]*\)".*/\1/')
    curl --silent --fail --cacert "$ca" --output /dev/null --header 'Content-Type: application/json' \
        --data '{"message":"kept"}' "$url/api/v1/stateful/sessions/$id/messages"
    compose exec -T postgres psql --quiet --username=tandem tandem -c 'CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)'
    compose down
    compose up -d
    all_healthy 120
    curl --silent --fail --cacert "$ca" "$url/api/v1/stateful/sessions/$id/history" | grep -q '"message":"kept"'
    compose exec -T postgres psql --quiet --tuples-only --username=tandem tandem -c 'SELECT x FROM kept' | grep -q 7
}

say 'building the images'
compose build ${COMPOSE_BUILD_ARGS:-} >"$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log" >&2
    exit 1
}
check 'images are small' sizes
say 'starting'
compose up -d
check 'healthy within two minutes' all_healthy 120
((failed == 0)) || exit 1
check 'no root, and a root file system that is read-only' hardened
check 'production refuses a secret that everybody knows' production_refuses
check 'instances have stable names' members_are stateful stateful-1 stateful-2
check 'the API answers as its table says' api_table
check '30 s of chaos without a fault' "$loadtest" chaos --target "$url" --cacert "$ca" --faults none --duration 30s --clients 24
check 'scale the stateful service to 4 under load' during infra/compose/compose.sh up -d --no-recreate --scale stateful-svc=4
check 'four members' members_are stateful stateful-1 stateful-2 stateful-3 stateful-4
check 'and back to 2' during infra/compose/compose.sh up -d --no-recreate --scale stateful-svc=2
check 'two members' members_are stateful stateful-1 stateful-2
for service in stateful-svc stateless-svc gateway redis-cache; do
    check "$service is made anew under load" during infra/compose/compose.sh roll "$service"
done
check 'the same members' members_are stateful stateful-1 stateful-2
# These are one of a kind here, so requests fail while they are away; what was acknowledged does not get lost.
for service in redis-sessions postgres nginx; do
    say "$service is made anew under load: requests may fail meanwhile"
    during infra/compose/compose.sh up -d --no-deps --force-recreate "$service" | tee "$work/report" || true
    check 'no session and no message is lost in it' nothing_lost "$work/report"
    check "whole again after $service" all_healthy 60
done
check 'down and up keep all data' survives_down_and_up

echo
if ((failed)); then
    echo "$failed checks failed" >&2
    exit 1
fi
echo "All checks passed after $SECONDS s."
