#!/usr/bin/env bash
# Compares the responses to generated requests with the OpenAPI document that is served, through
# Nginx and at the gateway, for nobody, a user and an admin: make fuzz-api, which starts a stack and
# sets the variables.
#
#   TANDEM_TARGET, TANDEM_GATEWAY    the addresses of both
#   TANDEM_CACERT                    the certificate authority of Nginx
#   FUZZ_ADMIN, FUZZ_ADMIN_PASSWORD  an admin
#   FUZZ_SECONDS                     bounds the runs together; else there are 200 examples for each operation
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
tools=$PWD/../../target/tools/api-tests
nginx=${TANDEM_TARGET:?run make fuzz-api} gateway=${TANDEM_GATEWAY:?run make fuzz-api}
# Who calls, and where.
runs=("nobody $nginx" "user $gateway" "admin $gateway" "nobody $gateway" "user $nginx" "admin $nginx")
bounds=()
# A bounded run draws the same requests each time, for CI, and a faster machine draws more of them; the
# nightly one draws another seed. The first three runs have every caller and both addresses.
if [[ -n ${FUZZ_SECONDS:-} ]]; then
    runs=("${runs[@]:0:3}")
    bounds=(--max-time "$((FUZZ_SECONDS / ${#runs[@]}))" --seed 1)
fi
# For callers.py.
export PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1
export HYPOTHESIS_STORAGE_DIRECTORY=$tools/hypothesis
export REQUESTS_CA_BUNDLE=${TANDEM_CACERT:?run make fuzz-api}

failed=0
for run in "${runs[@]}"; do
    read -r caller base <<<"$run"
    echo "As $caller, at $base:"
    FUZZ_CALLER=$caller "$tools/bin/schemathesis" run "$base/api/v1/openapi.json" --tls-verify "$TANDEM_CACERT" \
        --max-examples 200 --continue-on-failure "${bounds[@]}" || failed=1
done
exit "$failed"
