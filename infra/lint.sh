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

# The configuration for containers, with DNS, without and behind HAProxy, and for the local stack, with a fixed upstream and an
# open classroom.
render_for_containers() { cp -r infra/nginx/. "$1"; }
render_behind_haproxy() { cp -r infra/nginx/. "$1"; }
render_for_this_machine() {
    cp -r infra/nginx/. "$1"
    sed -i -e 's|@@IF_DIRECT@@||; s|@@IF_PROXIED@@|#|; s|@@IF_DNS@@|#|; s|@@IF_UPSTREAM@@||; s|@@GATEWAY_UPSTREAM@@|server 127.0.0.1:8000;|' \
        -e 's|@@METRICS_UPSTREAM@@|server 127.0.0.1:8001;|; s|@@GATEWAY@@|gateway|; s|@@GATEWAY_METRICS@@|gateway_metrics|' \
        -e "s|@@CLASS_INCLUDE@@|include $1/class.conf;|" "$1/nginx.conf.template"
    # start.sh makes a certificate.
    local tls=${1%/conf}/state/tls
    sed -e "s|@@CLASS_LISTEN@@|127.0.0.1:8444|; s|@@CLASS_CERT@@|$tls/certificate.pem|; s|@@CLASS_KEY@@|$tls/key.pem|" \
        -e "s|@@CLASS_AUTHORITY@@|$1/class|; s|@@CLASS_CODE@@|ABCDEF|; s|@@CONF_DIR@@|$1|; s|@@GATEWAY_SCHEME@@|http|" "$1/class.conf.template" >"$1/class.conf"
}
nginx_accepts() { # folder with conf and state
    local said
    said=$(PROXY_PROTOCOL=$([[ $1 == */behind_haproxy ]] && echo 1 || echo 0) CONF_DIR=$1/conf STATE_DIR=$1/state \
        SECRETS_DIR=infra/compose/secrets/development sh infra/compose/nginx/start.sh -t 2>&1) || { echo "$said"; return 1; }
    # Newer versions call `listen … http2` deprecated, which the oldest one needs.
    ! grep '\[warn\]' <<<"$said" | grep --invert-match 'http2" directive is deprecated'
}
for rendering in for_containers behind_haproxy for_this_machine; do
    mkdir -p "$work/$rendering/conf" "$work/$rendering/state"
    "render_$rendering" "$work/$rendering/conf"
    check "nginx -t, ${rendering//_/ }" nginx_accepts "$work/$rendering"
    # gixy cannot parse possessive quantifiers (`*+`), which prevent backtracking on hostile paths.
    sed -i 's/\([*+]\)+/\1/g' "$work/$rendering"/conf/*.conf
    # try_files serves one small, rarely requested page.
    check "gixy, ${rendering//_/ }" gixy --skips try_files_is_evil_too "$work/$rendering/state/nginx.conf"
done

# A server of its own: systemd's units, SSH, keepalived, fail2ban, and Nginx as infra/server renders it.
units=$work/units
mkdir "$units"
# Programs that are not installed here, and units of other packages. An instance in place of each template.
for unit in infra/server/*.service infra/server/*.timer; do
    name=${unit##*/}
    sed -E 's#^(Exec(Start|StartPre|Reload|Stop))=/(usr|opt)/[^ ]+#\1=/bin/true#' "$unit" | tee "$units/$name" >"$units/${name/@./@1.}"
done
printf '[Service]\nExecStart=/bin/true\n' >"$units/docker.service"
systemd_accepts() {
    local said
    said=$(SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --man=no "$units"/*@1.service "$units"/tandem-*[!@1].service "$units"/*.timer 2>&1) || { echo "$said"; return 1; }
    # An unknown setting is a warning only.
    [[ -z $said ]] || { echo "$said"; return 1; }
}
check "systemd-analyze verify: $(find infra/server -name '*.service' -o -name '*.timer' | wc -l) units" systemd_accepts
little_exposed() {
    local unit said
    for unit in infra/server/*.service; do
        said=$(systemd-analyze security --offline=yes --threshold=30 "$unit" 2>&1) || { echo "$unit: ${said##*→}"; return 1; }
    done
}
check 'systemd-analyze security: under 3 for each service' little_exposed
sshd_accepts() {
    sed -e 's/@@PORT@@/2222/; s/@@OPERATOR@@/ada/' infra/server/files/ssh/00-tandem.conf.template >"$work/sshd_config"
    ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
    ((EUID != 0)) || mkdir -p /run/sshd
    sshd -t -f "$work/sshd_config" -h "$work/host_key"
}
check 'sshd -t' sshd_accepts
# It insists on an interface that is there, and no loopback.
interface=$(find /sys/class/net -mindepth 1 -maxdepth 1 ! -name lo -printf '%f\n' -quit)
keepalived_accepts() {
    local own peer priority said
    while read -r own peer priority; do
        # As root, since keepalived 2.2.7 ends itself when it tests a configuration with another user for scripts.
        infra/server/render-keepalived.sh --script-user=root --interface="$interface" --address=192.0.2.10/24 --own="$own" --peer="$peer" --priority="$priority" \
            --check="$PWD/infra/server/keepalived/check-edge.sh" >"$work/keepalived.conf"
        said=$(keepalived --config-test --use-file="$work/keepalived.conf" 2>&1) || { echo "$said"; return 1; }
        ! grep -iE 'unknown|invalid|error' <<<"$said" || return 1
    done <<<'192.0.2.11 192.0.2.12 110
192.0.2.12 192.0.2.11 100'
}
if [[ -n $interface ]]; then
    check 'keepalived -t, both hosts' keepalived_accepts
else
    echo 'skipped  keepalived -t: this machine has no network interface'
fi
check 'fail2ban-regex: log lines of this Nginx' infra/server/test-filters.sh
check 'Docker: daemon.json is JSON' jq -e '."userns-remap" == "default" and ."live-restore"' infra/server/files/docker/daemon.json

# Its host names resolve in containers only.
haproxy_accepts() { haproxy -c -f "$1"; }
check 'haproxy -c, for Nginx' haproxy_accepts infra/compose/haproxy/haproxy.cfg
check 'haproxy -c, for PostgreSQL' haproxy_accepts infra/compose/postgres/haproxy.cfg

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
    combinations=('')
    for overlay in scale dev staging ha monitoring traffic server; do
        for before in "${combinations[@]}"; do combinations+=("${before:+$before }$overlay"); done
    done
    for overlays in "${combinations[@]}"; do
        files=(-f infra/compose/compose.yaml)
        for overlay in $overlays; do files+=(-f "infra/compose/compose.$overlay.yaml"); done
        [[ $overlays != *ha*monitoring* ]] || files+=(-f infra/compose/compose.ha-monitoring.yaml)
        if ! "${compose[@]}" --project-directory infra/compose "${files[@]}" config --quiet >>"$work/compose" 2>&1; then
            echo "of base${overlays:+ and $overlays}" >>"$work/compose"
        fi
    done
    compose_accepts() { ! grep . "$work/compose"; }
    check "compose config: ${#combinations[@]} combinations of overlays" compose_accepts
fi

# The manifests of Kubernetes; without a program that renders them, the files by themselves.
if command -v kubectl >/dev/null || command -v kustomize >/dev/null; then
    check 'Kubernetes: overlays, strictly, by two versions' python infra/k8s/check.py
else
    echo 'skipped  Kubernetes: neither kubectl nor kustomize is installed, so no overlay is rendered'
    check 'Kubernetes: single files, strictly, by two versions' python infra/k8s/check.py --files
fi
check 'Kubernetes: rules are those of infra/monitoring' python infra/k8s/prometheus-rules.py --check

mapfile -t workflows < <(git ls-files -- .github/workflows)
check "GitHub's schema: ${#workflows[@]} workflows" check-jsonschema --builtin-schema vendor.github-workflows "${workflows[@]}"

# Pinned actions, no rights that a job does not need, no text of others in scripts. Nothing is asked of GitHub.
check 'zizmor: .github' zizmor --offline --no-progress --strict-collection .github

check 'secrets: none in the files, but known examples' python infra/find-secrets.py
check 'secrets: planted ones are found' python infra/find-secrets.py --planted
check 'release: images of others are pinned by digest' infra/release/test.sh
check 'release: expressions of licences' python infra/release/licences.py --test

check 'Prometheus: rules, their tests, the runbook' python infra/monitoring/check-rules.py
if command -v amtool >/dev/null; then
    check 'Alertmanager: amtool check-config' amtool check-config infra/monitoring/alertmanager/alertmanager.yml
else
    echo 'skipped  Alertmanager: amtool is not installed'
fi
check 'Grafana: dashboards are those of dashboards.py' python infra/monitoring/grafana/dashboards.py --check
exit $((failed > 0))
