#!/usr/bin/env bash
# Calls the installed Compose with Tandem's files: the base, then the overlays that OVERLAYS names.
#
#   infra/compose/compose.sh up -d
#   OVERLAYS='ha monitoring' infra/compose/compose.sh ps
#   infra/compose/compose.sh roll stateful-svc      replaces its containers one after the other, while the others serve
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v docker >/dev/null || fail "docker is not installed; install Docker Engine, or Debian's packages docker.io and docker-compose"
docker info >/dev/null 2>&1 || fail "cannot connect to the Docker daemon; start it, or get permission to use it ('docker info' shows the cause)"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose) one_at_a_time=1
elif command -v docker-compose >/dev/null; then
    # Its limit counts the service itself, too.
    compose=(docker-compose) one_at_a_time=2
else
    fail "Compose is not installed; install Docker's plugin, or Debian's package docker-compose"
fi

[[ -e .env ]] || cp .env.example .env
files=(-f compose.yaml)
for overlay in ${OVERLAYS:-}; do
    [[ -e compose.$overlay.yaml ]] || fail "there is no overlay '$overlay'; there are: $(printf '%s ' compose.*.yaml | sed 's/compose\.\([a-z]*\)\.yaml/\1/g')"
    files+=(-f "compose.$overlay.yaml")
done
# The next container may only be replaced when this one serves.
await_health() { # service
    local id deadline=$((SECONDS + 90))
    for id in $("${compose[@]}" "${files[@]}" ps -q "$1"); do
        until [[ $(docker inspect -f '{{with .State.Health}}{{.Status}}{{else}}healthy{{end}}' "$id") == healthy ]]; do
            ((SECONDS < deadline)) || fail "the new container of $1 is not healthy; see: docker logs $id"
            sleep 0.5
        done
    done
}

if [[ ${1:-} == roll ]]; then
    shift
    (($#)) || fail "name a service, for example: roll stateful-svc"
    for service; do
        COMPOSE_PARALLEL_LIMIT=$one_at_a_time "${compose[@]}" "${files[@]}" up -d --no-deps --force-recreate "$service"
        await_health "$service"
    done
    exit
fi
exec "${compose[@]}" "${files[@]}" "$@"
