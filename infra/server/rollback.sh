#!/usr/bin/env bash
# Goes back to the release before, as switch-release.sh goes to a new one: no request fails, and nothing that was written is lost.
# Called again, it returns to the newer release; if it failed, run switch-release.sh with the release of `current` again. The schema of the database stays: each release reads that of the next one
# (docs/RUNBOOK.md, 'Go back to the previous release').
set -euo pipefail

root=${TANDEM_ROOT:-/usr/local/lib/tandem}
previous=$(readlink "$root/previous") || {
    echo "error: there is no $root/previous: no release was current before this one" >&2
    exit 1
}
exec "$(dirname "${BASH_SOURCE[0]}")/switch-release.sh" "$(basename "$previous")"
