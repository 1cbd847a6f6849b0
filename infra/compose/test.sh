#!/usr/bin/env bash
# Tests the containers: `make compose-test`. It builds the images, starts the system with a project name and ports of its own, and
# removes it with its volumes at the end. It needs a Docker engine, the base images (or a registry to pull them from), and the
# programs of `cargo build --workspace --bins`.
#
#   infra/compose/test.sh [folder of the programs]
set -euo pipefail

# shellcheck source=infra/compose/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh" "$@"
export OVERLAYS='' BACKUP_DIR=$work/backups TEXTFILE_DIR=$work

# The healthy instances of a pool, from the gateway's metrics.
members() { # pool
    curl --silent --fail --cacert "$ca" --user "metrics:$(<infra/compose/secrets/development/metrics_password)" "$url/metrics" |
        sed -n "s/^gateway_upstream_healthy{pool=\"$1\",upstream=\"\(.*\)\"} 1\$/\1/p" | sort | tr '\n' ' '
}
members_are() { # pool, names …
    local pool=$1 deadline=$((SECONDS + 30))
    shift
    # Either gateway may respond, so several responses in a row must agree.
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
# Clients check that a response has what they have written.
nothing_lost() { # report
    ! grep -E '^failed .*(wrong_response|session_not_found)' "$1"
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
    # With the development secrets in place of the production ones.
    local output
    output=$(TANDEM_MODE=development compose run --rm --no-deps -T -e TANDEM_MODE=production stateful-svc 2>&1) && return 1
    echo "$output" | grep -E 'secret for development|development secret'
}
# Creates a session with a message, and prints its id.
new_conversation() { # message
    local id
    id=$(new_session) && curl --silent --fail --cacert "$ca" --output /dev/null --header 'Content-Type: application/json' \
        --data "{\"message\":\"$1\"}" "$url/api/v1/stateful/sessions/$id/messages" || return 1
    echo "$id"
}
remembers() { # session, message
    curl --silent --fail --cacert "$ca" "$url/api/v1/stateful/sessions/$1/history" | grep -q "\"message\":\"$2\""
}
psql() { # statement
    compose exec -T postgres psql --quiet --tuples-only --no-align --username=tandem tandem --command="$1" </dev/null
}
survives_down_and_up() {
    local id
    id=$(new_conversation kept) && psql 'CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)' || return 1
    compose down && compose up -d && all_healthy 120 || return 1
    remembers "$id" kept && [[ $(psql 'SELECT x FROM kept') == 7 ]]
}
# Also undoes later changes of rows and of the schema.
backup_is_restored() {
    local kept later
    kept=$(new_conversation before) && psql 'CREATE TABLE restored (x int); INSERT INTO restored VALUES (1)' || return 1
    infra/compose/backup.sh create && grep -q sessions "$TEXTFILE_DIR/backup.prom" || return 1
    later=$(new_conversation after) && psql 'UPDATE restored SET x = 2; CREATE TABLE newer (x int)' || return 1
    curl --silent --fail --cacert "$ca" --request DELETE "$url/api/v1/stateful/sessions/$kept" || return 1
    # A folder without a backup, and a damaged backup, change nothing.
    mkdir "$work/damaged" && cp "$BACKUP_DIR"/*/* "$work/damaged" && echo x >>"$work/damaged/sessions.rdb" || return 1
    if infra/compose/backup.sh restore "$work" --yes || infra/compose/backup.sh restore "$work/damaged" --yes; then return 1; fi
    [[ $(psql 'SELECT x FROM restored') == 2 ]] && remembers "$later" after || return 1
    infra/compose/backup.sh restore "$BACKUP_DIR"/* --yes && all_healthy 60 || return 1
    remembers "$kept" before && ! remembers "$later" after || return 1
    [[ $(psql "SELECT x, to_regclass('newer') IS NULL FROM restored") == '1|t' ]] || return 1
    # It is persistent, and every container starts a second time.
    compose restart && all_healthy 120 && remembers "$kept" before
}

build
check 'images are small' sizes
say 'starting'
compose up -d
check 'healthy within two minutes' all_healthy 120
((failed == 0)) || exit 1
check 'no root user, and a read-only root file system' hardened
check 'production rejects a development secret' production_refuses
check 'instances have stable names' members_are stateful stateful-1 stateful-2
check 'the API responds as its table says' api_table
check '30 s of chaos without a fault' "$loadtest" chaos --target "$url" --cacert "$ca" --faults none --duration 30s --clients 24
check 'scale the stateful service to 4 under load' during infra/compose/compose.sh up -d --no-recreate --scale stateful-svc=4
check 'four members' members_are stateful stateful-1 stateful-2 stateful-3 stateful-4
check 'and back to 2' during infra/compose/compose.sh up -d --no-recreate --scale stateful-svc=2
check 'two members' members_are stateful stateful-1 stateful-2
for service in stateful-svc stateless-svc gateway redis-cache; do
    check "$service is replaced under load" during infra/compose/compose.sh roll "$service"
done
check 'the same members' members_are stateful stateful-1 stateful-2
# Single servers: requests that need them wait.
for service in redis-sessions postgres; do
    check "$service is replaced under load" during infra/compose/compose.sh roll "$service"
done
# Nginx alone owns the ports, so connections are refused for a moment. Nothing is lost.
say 'nginx is replaced under load: requests may fail meanwhile'
during infra/compose/compose.sh roll nginx | tee "$work/report" || true
check 'no session and no message is lost' nothing_lost "$work/report"
check 'healthy again' all_healthy 60
check 'down and up keep all data' survives_down_and_up
check 'a backup is restored' backup_is_restored
done_testing
