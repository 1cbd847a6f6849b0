#!/usr/bin/env bash
# Rolls a release out and back under load, with two real builds: `make rollback-test`. The newer one is the present sources with
# one more migration, which the older one, the present sources, does not know. With a revision, that one is the older build and
# the present sources are the newer one.
#
#   rollback-test.sh            about as long as building the services takes
#   rollback-test.sh REVISION   against a release before
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$PWD/target/rollback
source=$work/source
builds=(-p gateway -p stateless-svc -p stateful-svc --bins)
cleanup() { git worktree remove --force "$source" 2>/dev/null || true; }
trap cleanup EXIT
cleanup
rm -rf "$work"
mkdir -p "$work/now" "$work/other"

git worktree add --quiet --detach "$source" "${1:-HEAD}"
if [[ -z ${1:-} ]]; then
    # As a release does it: a table, and a column that what the older release writes leaves empty.
    migrations=$source/services/stateless-svc/migrations
    last=$(find "$migrations" -name 'V*.sql' -printf '%f\n' | sed 's/^V\([0-9]*\)__.*/\1/' | sort -n | tail -n 1)
    cat >"$migrations/V$((last + 1))__rollback_test.sql" <<'SQL'
CREATE TABLE rollback_tests (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
ALTER TABLE users ADD COLUMN rollback_test text;
CREATE INDEX users_of_rollback_test ON users (rollback_test);
SQL
    touch "$source/services/stateless-svc/src/store/migrations.rs"
fi
# One target directory, which has the dependencies. The present sources come last, so their programs stay there.
(cd "$source" && CARGO_TARGET_DIR=$work/../ cargo build --locked "${builds[@]}")
for program in gateway stateless-svc stateful-svc; do cp "target/debug/$program" "$work/other/"; done
cargo build --locked --workspace --bins
for program in gateway stateless-svc stateful-svc; do cp "target/debug/$program" "$work/now/"; done

if [[ -n ${1:-} ]]; then
    older=$work/other newer=$work/now
else
    older=$work/now newer=$work/other
fi
cmp -s "$older/stateless-svc" "$newer/stateless-svc" && { echo 'error: both builds are the same' >&2; exit 1; }
ROLLBACK_OLDER=$older ROLLBACK_NEWER=$newer cargo test --workspace --test e2e rollback:: -- --nocapture --test-threads=1
