# shellcheck shell=bash
# Shared by the container tests: a Compose project on ports of its own, removed with its volumes at the end. Sourced by test.sh,
# test-ha.sh and test-monitoring.sh, with the folder of the programs as $1.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
programs=${1:-target/debug}
# shellcheck disable=SC2034 # used by the sourcing scripts
loadtest=$programs/loadtest
work=$(mktemp -d)

# The environment overrides .env.
export COMPOSE_PROJECT_NAME=tandem-test TANDEM_MODE=development
export HTTPS_PORT=${HTTPS_PORT:-18443} HTTP_PORT=${HTTP_PORT:-18080} CONTROL_PORTS=${CONTROL_PORTS:-18001-18004}
# A load test must measure the system, not the limit.
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
    local status=$? id
    if ((status || failed)); then
        compose ps >&2 || true
        # Not `compose logs`: the old Compose prints nothing where there is no terminal.
        for id in $(compose ps -q); do
            docker inspect -f '{{.Name}}' "$id"
            docker logs --tail 20 "$id"
        done >&2 2>&1 || true
    fi
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

# All containers by their health checks, and both pools by a request.
all_healthy() { # seconds
    local deadline=$((SECONDS + $1)) id states
    while :; do
        states=$(for id in $(compose ps -q); do docker inspect -f '{{with .State.Health}}{{.Status}}{{else}}{{$.State.Status}}{{end}}' "$id"; done | sort -u | tr '\n' ' ')
        # Third-party images may lack a health check; their containers only show that they run.
        if [[ $states == 'healthy ' || $states == 'healthy running ' ]] && responds; then return 0; fi
        if ((SECONDS > deadline)); then
            echo "after $1 s: $states" >&2
            return 1
        fi
        sleep 1
    done
}
responds() {
    local path
    trust
    for path in /api/v1/stateless/products?limit=1 /health; do
        curl --silent --fail --cacert "$ca" --output /dev/null "$url$path" || return 1
    done
    new_session >/dev/null
}
# With the overlay ha there are two Nginx.
nginx() { if [[ " $OVERLAYS " == *' ha '* ]]; then echo nginx-1; else echo nginx; fi; }
trust() { compose exec -T "$(nginx)" cat /var/lib/tandem/tls/authority.pem >"$ca" 2>/dev/null; }
# The first container of a service. Uses Docker directly, since Compose takes a second, which measurements would include.
container() { # service
    docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
        --filter "label=com.docker.compose.service=$1" | head -n 1
}
# Creates a session, and prints its id.
new_session() {
    curl --silent --fail --max-time 20 --cacert "$ca" --header 'Content-Type: application/json' --data '{"client_data":{"name":"Ada"}}' \
        "$url/api/v1/stateful/sessions" | sed 's/.*"session_id":"\([^"]*\)".*/\1/'
}
build() {
    say 'building the images'
    # shellcheck disable=SC2086 # several options
    compose build ${COMPOSE_BUILD_ARGS:-} >"$work/build.log" 2>&1 || {
        tail -n 30 "$work/build.log" >&2
        exit 1
    }
}
done_testing() {
    echo
    if ((failed)); then
        echo "$failed checks failed" >&2
        exit 1
    fi
    echo "All checks passed after $SECONDS s."
}
