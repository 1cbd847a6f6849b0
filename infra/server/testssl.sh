#!/usr/bin/env bash
# Starts a system and has testssl look at the TLS of its Nginx: `make testssl`. It fails with a finding above low, except for the
# development certificate. The package testssl.sh has the program. PORT_OFFSET shifts the ports.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
programs=${CARGO_TARGET_DIR:-target}/debug
offset=${PORT_OFFSET:-3000}

fail() {
    echo "error: $*" >&2
    exit 1
}
for program in testssl jq; do
    command -v "$program" >/dev/null || fail "$program is not installed; Debian has it in the package ${program/testssl/testssl.sh}"
done
work=$(mktemp -d)
stack() { "$programs/local-stack" --state "$work/stack" "$@"; }
clean_up() {
    stack down >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
stack up --stateless=1 --stateful=1 --port-offset="$offset" >"$work/up.log" 2>&1 || fail "$(tail -n 5 "$work/up.log")"

# It exits with the number of its findings.
testssl --quiet --color 0 --nodns none --ip 127.0.0.1 --jsonfile "$work/findings.json" "https://localhost:$((8443 + offset))" >"$work/testssl.log" 2>&1 || true
jq --exit-status 'length > 100' "$work/findings.json" >/dev/null || fail "testssl did not finish: $(tail -n 5 "$work/testssl.log")"
jq --raw-output 'group_by(.severity)[] | "\(.[0].severity): \(length)"' "$work/findings.json"

# Expected:
#   cert_…        the local authority, which no client knows, and which revokes nothing; and the grade that follows
#   cipher_order  Mozilla's intermediate profile leaves the order to the client, since each cipher is strong
#   BREACH        the start page is compressed; it is the same for everybody and contains no secret
expected='cert_chain_of_trust|cert_trust|cert_revocation|cert_caIssuers|overall_grade|grade_cap_reason.*|cipher_order|BREACH'
with_severity() { jq --raw-output --arg severity "$1" '.[] | select(.severity | test($severity)) | "\(.severity) \(.id): \(.finding)"' "$work/findings.json"; }
# What testssl could not look at.
with_severity '^WARN$'
with_severity '^(MEDIUM|HIGH|CRITICAL)$' >"$work/above"
if grep --invert-match --extended-regexp "^[A-Z]+ ($expected):" "$work/above"; then fail 'testssl has findings above low'; fi
echo 'testssl: no finding above low but the expected ones'
