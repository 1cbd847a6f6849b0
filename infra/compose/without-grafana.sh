# shellcheck shell=bash
# Read by tests: leaves Grafana out where there is no image of it and none can be had, and says so.
if ! docker image inspect grafana/grafana:11.6.3 >/dev/null 2>&1 && ! docker pull --quiet grafana/grafana:11.6.3 >/dev/null 2>&1; then
    echo 'There is no image of Grafana here, so it is left out.'
    export COMPOSE_PROFILES=none
fi
