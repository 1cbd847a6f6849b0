#!/usr/bin/env bash
# Does what docs/DEPLOYMENT.md says, to the letter: `make deployment-test`. Its blocks marked `sh` are run in their order, in a fresh
# clone of the commit that is checked out, under the names and on the ports that stand there; so nothing else may have them.
# Then it sees that the document lists every variable there is.
#
#   infra/compose/test-deployment.sh [folder of the programs]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
programs=$(realpath "${1:-target/debug}")
work=$(mktemp -d)
clone=$work/tandem
finish() {
    if [[ -d $clone ]]; then (cd "$clone" && OVERLAYS='ha monitoring' infra/compose/compose.sh down --volumes --remove-orphans) >/dev/null 2>&1 || true; fi
    rm -rf "$work" /tmp/tandem-authority.pem
}

if docker ps --all --quiet --filter label=com.docker.compose.project=tandem | grep -q .; then
    echo "error: there are containers of the project 'tandem' already, and this test would take them away: infra/compose/compose.sh down" >&2
    exit 1
fi
if docker volume ls --quiet --filter label=com.docker.compose.project=tandem | grep -q .; then
    echo "error: there are volumes of the project 'tandem' already, and this test would remove them: infra/compose/compose.sh down --volumes" >&2
    exit 1
fi
trap finish EXIT

# Every variable that a program's --help or a file of Compose names.
documented=0
for variable in $({
    {
        for program in gateway stateless-svc stateful-svc; do "$programs/$program" --help; done
        "$programs/gateway" ctl --help
        cat gateway/config/gateway.toml
    } | grep -oE '\b[A-Z]+(_[A-Z]+)+\b'
    grep -ohE '\{[A-Z_]+' infra/compose/compose*.yaml | sed 's/^.//'
    sed -n 's/^\([A-Z_]*\)=.*/\1/p' infra/compose/.env.example
} | sort -u); do
    # OpenTelemetry's own have a table in ARCHITECTURE.md.
    [[ $variable != OTEL_* ]] || continue
    if grep -q "\`$variable\`" docs/DEPLOYMENT.md; then
        documented=$((documented + 1))
    else
        echo "docs/DEPLOYMENT.md does not list $variable" >&2
        undocumented=1
    fi
done
[[ -z ${undocumented:-} ]] || exit 1
echo "docs/DEPLOYMENT.md lists all $documented variables."

# shellcheck source=infra/compose/without-grafana.sh
source infra/compose/without-grafana.sh
git clone --quiet . "$clone"
# shellcheck disable=SC2016 # they are Markdown's
sed -n '/^```sh$/,/^```$/p' "$clone/docs/DEPLOYMENT.md" | sed 's/^```.*/\n/' >"$work/commands"
(($(grep -c . "$work/commands") > 20)) || {
    echo 'error: there are hardly any commands in docs/DEPLOYMENT.md' >&2
    exit 1
}
cd "$clone"
# Each command is told before it runs, as somebody who types it sees it.
bash -euo pipefail -v "$work/commands" </dev/null
echo
echo "Every command of docs/DEPLOYMENT.md has done its work, after $SECONDS s."
