#!/usr/bin/env bash
# Calls whichever Compose there is with Tandem's files: base, then the overlays that OVERLAYS names.
#
#   infra/compose/compose.sh up -d
#   OVERLAYS='ha monitoring' infra/compose/compose.sh ps
#   infra/compose/compose.sh roll stateful-svc      makes its containers anew, one after the other, while the others serve
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v docker >/dev/null || fail "there is no docker; install Docker Engine, or Debian's packages docker.io and docker-compose"
docker info >/dev/null 2>&1 || fail "Docker's daemon does not answer: is it started, and may you use it? ('docker info' tells)"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose) one_at_a_time=1
elif command -v docker-compose >/dev/null; then
    # It counts the service as one, too, and its containers come after it.
    compose=(docker-compose) one_at_a_time=2
else
    fail "there is no Compose; install the plugin of Docker, or Debian's package docker-compose"
fi

[[ -e .env ]] || cp .env.example .env
files=(-f compose.yaml)
for overlay in ${OVERLAYS:-}; do
    [[ -e compose.$overlay.yaml ]] || fail "there is no overlay '$overlay'; there are: $(printf '%s ' compose.*.yaml | sed 's/compose\.\([a-z]*\)\.yaml/\1/g')"
    files+=(-f "compose.$overlay.yaml")
done
# Who comes next may be needed by those who were made anew.
await_health() { # service
    local id deadline=$((SECONDS + 90))
    for id in $("${compose[@]}" "${files[@]}" ps -q "$1"); do
        until [[ $(docker inspect -f '{{with .State.Health}}{{.Status}}{{else}}healthy{{end}}' "$id") == healthy ]]; do
            ((SECONDS < deadline)) || fail "$1 is made anew and not healthy: docker logs $id"
            sleep 0.5
        done
    done
}

if [[ ${1:-} == roll ]]; then
    shift
    (($#)) || fail "say which services, such as: roll stateful-svc"
    for service; do
        COMPOSE_PARALLEL_LIMIT=$one_at_a_time "${compose[@]}" "${files[@]}" up -d --no-deps --force-recreate "$service"
        await_health "$service"
    done
    exit
fi
exec "${compose[@]}" "${files[@]}" "$@"
