#!/usr/bin/env bash
# Compares the responses to generated requests with the OpenAPI document that is served, through
# Nginx and at the gateway: make fuzz-api, which starts a stack and sets the variables.
#
#   TANDEM_TARGET, TANDEM_GATEWAY    the addresses of both
#   TANDEM_CACERT                    the certificate authority of Nginx
#   FUZZ_SECONDS                     bounds both runs together; else there are 200 examples for each operation
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
tools=$PWD/../../target/tools/api-tests
bounds=()
# A bounded run is the same each time, for CI; the nightly one draws another seed.
if [[ -n ${FUZZ_SECONDS:-} ]]; then bounds=(--max-time "$((FUZZ_SECONDS / 2))" --seed 1); fi
export HYPOTHESIS_STORAGE_DIRECTORY=$tools/hypothesis
export REQUESTS_CA_BUNDLE=${TANDEM_CACERT:?run make fuzz-api}

failed=0
for base in "${TANDEM_TARGET:?run make fuzz-api}" "${TANDEM_GATEWAY:?run make fuzz-api}"; do
    "$tools/bin/schemathesis" run "$base/api/v1/openapi.json" --tls-verify "$TANDEM_CACERT" --max-examples 200 \
        --continue-on-failure "${bounds[@]}" || failed=1
done
exit "$failed"
