#!/usr/bin/env bash
# Calls the installed Compose with Tandem's files: the base, then the overlays that OVERLAYS names.
#
#   infra/compose/compose.sh up -d
#   OVERLAYS='ha monitoring' infra/compose/compose.sh ps
#   infra/compose/compose.sh primary                names the service that is PostgreSQL's primary
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
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    fail "Compose is not installed; install Docker's plugin, or Debian's package docker-compose"
fi

[[ -e .env ]] || cp .env.example .env
files=(-f compose.yaml)
for overlay in ${OVERLAYS:-}; do
    [[ -e compose.$overlay.yaml ]] || fail "there is no overlay '$overlay'; there are: $(printf '%s ' compose.*.yaml | sed 's/compose\.\([a-z-]*\)\.yaml/\1/g')"
    files+=(-f "compose.$overlay.yaml")
done
if [[ " ${OVERLAYS:-} " == *' ha '* && " ${OVERLAYS:-} " == *' monitoring '* ]]; then
    files+=(-f compose.ha-monitoring.yaml)
fi
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

# Compose v2 recreates all containers of a service at once, whatever COMPOSE_PARALLEL_LIMIT says. So each one that stops is removed
# and created again with the number that is next. It gets the name back before it starts, since an instance is named after that.
replace_one_by_one() { # service, names of its containers …
    local service=$1 name project new
    shift
    project=$(docker inspect -f '{{index .Config.Labels "com.docker.compose.project"}}' "$1")
    for name; do
        docker stop "$name" >/dev/null
        docker rm "$name" >/dev/null
        "${compose[@]}" "${files[@]}" up --no-start --no-deps --no-recreate --scale "$service=$#" "$service"
        new=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$project" \
            --filter "label=com.docker.compose.service=$service" --filter status=created)
        [[ $new =~ ^[0-9a-f]+$ ]] || fail "Compose created other containers than that for $name: '$new'"
        [[ $(docker inspect -f '{{.Name}}' "$new") == "/$name" ]] || docker rename "$new" "$name"
        docker start "$new" >/dev/null
        await_health "$service"
        echo "$name is replaced"
    done
}
roll() { # service
    local names
    if [[ ${compose[0]} == docker-compose ]]; then
        # One at a time: its limit counts the service itself, too.
        COMPOSE_PARALLEL_LIMIT=2 "${compose[@]}" "${files[@]}" up -d --no-deps --force-recreate "$1"
    else
        mapfile -t names < <("${compose[@]}" "${files[@]}" ps -q "$1" | xargs -r docker inspect -f '{{.Name}}' | sed 's|^/||' | sort -V)
        if ((${#names[@]} > 1)); then
            replace_one_by_one "$1" "${names[@]}"
        else
            "${compose[@]}" "${files[@]}" up -d --no-deps --force-recreate "$1"
        fi
    fi
    await_health "$1"
}

# With the overlay ha it is the one that Patroni says; else there is one alone.
primary() {
    local service
    for service in postgres postgres-2; do
        # shellcheck disable=SC2016 # the container's shell expands it
        if [[ " ${OVERLAYS:-} " != *' ha '* ]] || "${compose[@]}" "${files[@]}" exec -T "$service" \
            bash -c 'exec 3<>/dev/tcp/127.0.0.1/8008 && printf "GET /primary HTTP/1.0\r\n\r\n" >&3 && read -r _ status _ <&3 && test "$status" = 200' </dev/null >/dev/null 2>&1; then
            echo "$service"
            return
        fi
    done
    fail 'PostgreSQL has no primary now; see: compose.sh exec postgres patronictl -c /var/run/postgresql/patroni.yml list'
}

if [[ ${1:-} == primary ]]; then
    primary
    exit
fi
if [[ ${1:-} == roll ]]; then
    shift
    (($#)) || fail "name a service, for example: roll stateful-svc"
    for service; do roll "$service"; done
    exit
fi
exec "${compose[@]}" "${files[@]}" "$@"
