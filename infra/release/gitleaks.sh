#!/usr/bin/env bash
# Looks for secrets in the whole history by gitleaks, which Go builds at this version; the Go checksum database verifies it.
# For CI: the network is needed. `infra/find-secrets.py` checks the present files in `make lint-infra`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

GITLEAKS=v8.30.1
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install "github.com/zricethezav/gitleaks/v8@$GITLEAKS"
"$bin/gitleaks" git --config infra/release/gitleaks.toml --redact --verbose .
