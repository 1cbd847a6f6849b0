#!/usr/bin/env bash
# Writes an inventory of the crates of each of our programs, in CycloneDX: `make sbom`.
#
#   infra/release/sbom.sh CARGO-CYCLONEDX FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=$(realpath "${1:?the program cargo-cyclonedx is missing}") folder=${2:?the folder is missing}
mkdir -p "$folder"
rm -f -- "$folder"/*.cdx.json
# It writes beside each manifest: what is compiled into the programs, without tools and tests. The time would make each run differ.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
"$tool" cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --no-build-deps --target all
for program in gateway stateless-svc stateful-svc loadtest local-stack; do
    found=$(git ls-files --others --ignored --exclude-standard -- "*/${program}_bin.cdx.json")
    # Our own crates are named by the folder of this checkout.
    sed "s|file://$PWD/|file:///tandem/|g" "$found" >"$folder/$program.cdx.json"
done
git ls-files --others --ignored --exclude-standard -z -- '*.cdx.json' ':!target' | xargs -0 --no-run-if-empty rm -f --
for inventory in "$folder"/*.cdx.json; do
    # A program of ours has hundreds.
    crates=$(grep -c '"purl": "pkg:cargo/' "$inventory")
    if grep -qF "$PWD" "$inventory"; then echo "error: $inventory names $PWD" >&2 && exit 1; fi
    ((crates > 50)) || { echo "error: $inventory has $crates crates" >&2 && exit 1; }
    echo "$inventory: $crates crates"
done
