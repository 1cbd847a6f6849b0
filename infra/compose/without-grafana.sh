# shellcheck shell=bash
# Sourced by tests: disables Grafana where its image is missing and cannot be pulled.
if ! docker image inspect grafana/grafana:11.6.3 >/dev/null 2>&1 && ! docker pull --quiet grafana/grafana:11.6.3 >/dev/null 2>&1; then
    echo 'skipped: Grafana, whose image is not available here'
    export COMPOSE_PROFILES=none
fi
