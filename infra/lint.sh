#!/usr/bin/env bash
# Checks every file of infra/ and the workflows with the tool for its format: `make lint-infra`. The tools come from PyPI, at the
# versions of infra/requirements.txt, and from Debian (install-packages.sh --for-lint).
#
#   infra/lint.sh FOLDER        the folder of the programs of infra/requirements.txt
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$(realpath "${1:?the folder of the tools is missing; run make lint-infra}")
PATH=$bin:$PATH:/usr/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { # what, command …
    local what=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        echo "ok       $what"
    else
        echo "FAILED   $what"
        sed 's/^/    /' "$work/output"
        failed=$((failed + 1))
    fi
}

# The configuration for containers, with DNS, and for the local stack, with a fixed upstream and an open classroom.
render_for_containers() { cp -r infra/nginx/. "$1"; }
render_for_this_machine() {
    cp -r infra/nginx/. "$1"
    sed -i -e 's|@@IF_DIRECT@@||; s|@@IF_PROXIED@@|#|; s|@@IF_DNS@@|#|; s|@@IF_FIXED@@||; s|@@GATEWAY_UPSTREAM@@|server 127.0.0.1:8000;|' \
        -e 's|@@METRICS_UPSTREAM@@|server 127.0.0.1:8001;|; s|@@GATEWAY@@|gateway|; s|@@GATEWAY_METRICS@@|gateway_metrics|' \
        -e "s|@@CLASS_INCLUDE@@|include $1/class.conf;|" "$1/nginx.conf.template"
    # start.sh makes a certificate.
    local tls=${1%/conf}/state/tls
    sed -e "s|@@CLASS_LISTEN@@|127.0.0.1:8444|; s|@@CLASS_CERT@@|$tls/certificate.pem|; s|@@CLASS_KEY@@|$tls/key.pem|" \
        -e "s|@@CLASS_AUTHORITY@@|$1/class|; s|@@CLASS_CODE@@|ABCDEF|; s|@@CONF_DIR@@|$1|" "$1/class.conf.template" >"$1/class.conf"
}
nginx_accepts() { # folder with conf and state
    CONF_DIR=$1/conf STATE_DIR=$1/state SECRETS_DIR=infra/compose/secrets/development sh infra/compose/nginx/start.sh -t
}
for rendering in for_containers for_this_machine; do
    mkdir -p "$work/$rendering/conf" "$work/$rendering/state"
    "render_$rendering" "$work/$rendering/conf"
    check "nginx -t, ${rendering//_/ }" nginx_accepts "$work/$rendering"
    # gixy cannot parse possessive quantifiers (`*+`), which prevent backtracking on hostile paths.
    sed -i 's/\([*+]\)+/\1/g' "$work/$rendering"/conf/*.conf
    # try_files serves one small, rarely requested page.
    check "gixy, ${rendering//_/ }" gixy --skips try_files_is_evil_too "$work/$rendering/state/nginx.conf"
done

# Its host names resolve in containers only.
haproxy_accepts() { haproxy -c -f infra/compose/haproxy/haproxy.cfg; }
check 'haproxy -c' haproxy_accepts

mapfile -t scripts < <(git ls-files -- '*.sh' .ci/run)
check "shellcheck: ${#scripts[@]} scripts" shellcheck --external-sources "${scripts[@]}"
mapfile -t yaml < <(git ls-files -- '*.yml' '*.yaml')
check "yamllint: ${#yaml[@]} files" yamllint --strict --config-file=infra/yamllint.yaml "${yaml[@]}"
check 'hadolint: the Dockerfile' hadolint --config=infra/compose/hadolint.yaml infra/compose/Dockerfile

# The schema of the Compose files; and Compose itself where it is installed.
check "Compose's schema" check-jsonschema --builtin-schema vendor.compose-spec infra/compose/compose*.yaml
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    compose=()
    echo 'skipped  Compose: not installed'
fi
if ((${#compose[@]})); then
    for overlays in '' dev scale ha monitoring traffic 'ha monitoring' 'scale monitoring' 'ha traffic'; do
        files=(-f infra/compose/compose.yaml)
        for overlay in $overlays; do files+=(-f "infra/compose/compose.$overlay.yaml"); done
        check "compose config: base${overlays:+ and $overlays}" "${compose[@]}" --project-directory infra/compose "${files[@]}" config --quiet
    done
fi

mapfile -t workflows < <(git ls-files -- .github/workflows)
check "GitHub's schema: ${#workflows[@]} workflows" check-jsonschema --builtin-schema vendor.github-workflows "${workflows[@]}"

check 'Prometheus: rules, their tests, the runbook' python infra/monitoring/check-rules.py
if command -v amtool >/dev/null; then
    check 'Alertmanager: amtool check-config' amtool check-config infra/monitoring/alertmanager/alertmanager.yml
else
    echo 'skipped  Alertmanager: amtool is not installed'
fi
check 'Grafana: dashboards are those of dashboards.py' python infra/monitoring/grafana/dashboards.py --check
exit $((failed > 0))
