# shellcheck shell=bash
# What the tests of this folder share. A test sources it after `set -euo pipefail`, and may then define `at_failure`, which shows
# more of a failure, and `at_end`, which cleans up what is its own.

# shellcheck disable=SC2034 # for the tests
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The test's own folder, and the processes that end with it. Other users read what servers serve from the folder.
work=$(mktemp -d /var/tmp/tandem-test.XXXXXX)
chmod 755 "$work"
pids=()
at_failure() { :; }
at_end() { :; }
PATH=$PATH:/usr/sbin:/sbin

clean_up() {
    local status=$?
    ((status == 0 || status == 77)) || at_failure >&2 || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    at_end || true
    wait 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

fail() {
    echo "error: $*" >&2
    exit 1
}
skip() {
    echo "SKIPPED    $*" >&2
    exit 77
}

wait_for() { # what, command …
    local what=$1
    shift
    for _ in {1..300}; do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    fail "$what did not happen within 30 s"
}
responds() { curl --silent --insecure --fail --max-time 3 --output /dev/null "$@"; } # options and a URL

self_signed() { # subject's name, file of the key, file of the certificate, options of openssl …
    local name=$1 key=$2 certificate=$3
    shift 3
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "/CN=$name" -keyout "$key" -out "$certificate" "$@" 2>/dev/null
}
