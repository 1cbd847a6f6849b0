#!/usr/bin/env bash
# Tests compose.ha.yaml: `make compose-test-ha`. While clients keep a ledger of acknowledged writes, it kills the Redis master, a
# gateway, and the PostgreSQL primary. Each time the service must be back within 10 s, and within 30 s where the lease of the
# primary must end first. At the end every acknowledged write must exist.
#
#   infra/compose/test-ha.sh [folder of the programs]
set -euo pipefail

# shellcheck source=infra/compose/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh" "$@"
export OVERLAYS=ha
limit_s=10

redis() { # address, command …
    compose exec -T -e REDISCLI_AUTH="$(<infra/compose/secrets/development/redis_password)" sentinel-1 redis-cli --raw -h "$@"
}
# The service that is the master, according to a Sentinel.
declare -A name_at=([11]=redis-sessions [12]=redis-replica-1 [13]=redis-replica-2)
master_of() { # Sentinel
    docker exec "$(container "$1")" redis-cli --raw -p 26379 sentinel get-master-addr-by-name tandem | head -n 1
}
master_address() { master_of sentinel-1; }
master() {
    local address
    address=$(master_address)
    echo "${name_at[${address##*.}]}"
}
replicas() { redis "$(master_address)" info replication | tr -d '\r' | sed -n 's/^connected_slaves://p'; }
replicas_are() { # number
    local deadline=$((SECONDS + 30))
    until [[ $(replicas) == "$1" ]]; do
        if ((SECONDS > deadline)); then
            echo "$(replicas) replicas follow $(master), not $1" >&2
            return 1
        fi
        sleep 0.5
    done
}
psql() { # server, statement
    compose exec -T -e PGPASSWORD="$(<infra/compose/secrets/development/postgres_password)" "$1" \
        psql --quiet --tuples-only --no-align --host="$1" --username=tandem tandem --command="$2"
}
# One request for each part, uncached.
session_is_written() {
    curl --silent --fail --max-time 3 --cacert "$ca" --output /dev/null --header 'Content-Type: application/json' --data '{}' \
        "$url/api/v1/stateful/sessions"
}
number=0
products_are_read() {
    # Another page each time.
    number=$((number % 90 + 1))
    curl --silent --fail --max-time 3 --cacert "$ca" --output /dev/null --header 'Cache-Control: no-cache' \
        "$url/api/v1/stateless/products?limit=$number"
}
# Five successes in a row exclude chance.
back() { # since (ms), request
    local since=$1 request=$2 good=0 took
    while ((good < 5)); do
        if "$request"; then good=$((good + 1)); else good=0; fi
        took=$(($(date +%s%3N) - since))
        if ((took > limit_s * 1000)); then
            echo "not back after $limit_s s" >&2
            return 1
        fi
        sleep 0.1
    done
    echo "back after $took ms, five responses included"
}

master_is_killed() {
    local old since
    old=$(master)
    since=$(date +%s%3N)
    docker kill "$(container "$old")" >/dev/null
    # Until the failure is detected, requests that need no master may succeed.
    until [[ $(master) != "$old" ]]; do
        if (($(date +%s%3N) - since > limit_s * 1000)); then
            echo "no replica was promoted within $limit_s s" >&2
            return 1
        fi
        sleep 0.2
    done
    echo "$(master) follows $old after $(($(date +%s%3N) - since)) ms"
    back "$since" session_is_written
}
old_master_comes_back() { # its name
    docker start "$(container "$1")" >/dev/null
    replicas_are 2
}
gateway_is_killed() {
    local since
    since=$(date +%s%3N)
    docker kill "$(container gateway)" >/dev/null
    back "$since" session_is_written && back "$since" products_are_read
}
# Patroni's lease ends after 20 s.
primary_is_followed() {
    local since old new limit_s=30
    old=$(compose primary)
    new=$([[ $old == postgres ]] && echo postgres-2 || echo postgres)
    psql "$old" 'CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)' && docker kill "$(container "$old")" >/dev/null || return 1
    since=$(date +%s%3N)
    # Products may come from the cache, so the promotion is waited for first.
    until [[ $(psql "$new" 'SELECT pg_is_in_recovery()') == f ]]; do
        if (($(date +%s%3N) - since > limit_s * 1000)); then
            echo "$new was not promoted within $limit_s s" >&2
            return 1
        fi
        sleep 0.2
    done
    back "$since" products_are_read && [[ $(psql "$new" 'INSERT INTO kept VALUES (8); SELECT sum(x) FROM kept') == 15 ]] || return 1
    docker start "$(container "$old")" >/dev/null && standby_is_synchronous
}
standby_is_synchronous() {
    local deadline=$((SECONDS + 60))
    until [[ $(psql "$(compose primary 2>/dev/null || echo postgres)" 'SELECT sync_state FROM pg_stat_replication') == sync ]]; do
        if ((SECONDS > deadline)); then
            echo 'no standby is synchronous' >&2
            return 1
        fi
        sleep 0.5
    done
}

# Any server may be the master afterwards: the containers stop one after the other, so a failover may happen meanwhile.
survives_down_and_up() {
    local session
    session=$(new_session) && compose down && compose up -d && all_healthy 150 &&
        curl --silent --fail --cacert "$ca" --output /dev/null "$url/api/v1/stateful/sessions/$session"
}
sentinels_agree() {
    local named
    named=$(for number in 1 2 3; do master_of "sentinel-$number"; done | sort -u)
    [[ $(wc -l <<<"$named") == 1 && -n ${name_at[${named##*.}]:-} ]]
}

build
say 'starting'
compose up -d
check 'healthy' all_healthy 150
((failed == 0)) || exit 1
check 'two replicas follow the master' replicas_are 2
check 'the standby is synchronous' standby_is_synchronous

say 'clients that keep a ledger'
"$loadtest" chaos --target "$url" --cacert "$ca" --faults none --redis-may-go --duration "${CHAOS:-100s}" \
    --clients 16 >"$work/chaos.log" 2>&1 &
ledger=$!
sleep 5
first=$(master)
check "the master of Redis ($first) is killed" master_is_killed
check "$first comes back as a replica" old_master_comes_back "$first"
check 'a gateway is killed' gateway_is_killed
compose up -d --no-deps --no-recreate gateway >/dev/null 2>&1
check 'the primary of PostgreSQL is killed: another follows, and it becomes the standby' primary_is_followed
status=0
wait "$ledger" || status=$?
cat "$work/chaos.log"
during_nginx() {
    "$loadtest" during --target "$url" --cacert "$ca" --rate 200 --connections 32 --streams 4 --timeout 20s --settle 8s -- \
        infra/compose/compose.sh roll nginx-1 nginx-2
}
check 'nginx-1 and nginx-2 are replaced under load' during_nginx
check 'no acknowledged write is lost' test "$status" -eq 0
check 'healthy again' all_healthy 90
check 'down and up: healthy, and an earlier session exists' survives_down_and_up
check 'down and up: two replicas' replicas_are 2
check 'down and up: the Sentinels agree' sentinels_agree
done_testing
