#!/usr/bin/env bash
# Runs the commands of docs/DEPLOYMENT.md: `make deployment-test`. The blocks marked `sh` run in order, in a fresh clone of the
# commit that is checked out, with the project name and ports of the document. So nothing else may use these.
#
#   infra/compose/test-deployment.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
clone=$work/tandem
finish() {
    if [[ -d $clone ]]; then (cd "$clone" && OVERLAYS='ha monitoring' infra/compose/compose.sh down --volumes --remove-orphans) >/dev/null 2>&1 || true; fi
    rm -rf "$work" /tmp/tandem-authority.pem
}

if docker ps --all --quiet --filter label=com.docker.compose.project=tandem | grep -q .; then
    echo "error: containers of the project 'tandem' exist, and this test would remove them; run infra/compose/compose.sh down first" >&2
    exit 1
fi
if docker volume ls --quiet --filter label=com.docker.compose.project=tandem | grep -q .; then
    echo "error: volumes of the project 'tandem' exist, and this test would remove them; run infra/compose/compose.sh down --volumes first" >&2
    exit 1
fi
trap finish EXIT

# shellcheck source=infra/compose/without-grafana.sh
source infra/compose/without-grafana.sh
git clone --quiet . "$clone"
# shellcheck disable=SC2016 # Markdown's backticks
sed -n '/^```sh$/,/^```$/p' "$clone/docs/DEPLOYMENT.md" | sed 's/^```.*/\n/' >"$work/commands"
(($(grep -c . "$work/commands") > 20)) || {
    echo 'error: docs/DEPLOYMENT.md has hardly any commands marked sh' >&2
    exit 1
}
cd "$clone"
# Prints each command before it runs.
bash -euo pipefail -v "$work/commands" </dev/null
echo
echo "Every command of docs/DEPLOYMENT.md succeeded, in $SECONDS s."
