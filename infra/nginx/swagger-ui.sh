#!/usr/bin/env bash
# Writes Swagger UI's files again from its npm package, and checks them: `make docs-ui`. Needs npm.
#
# For another version: change it here and in pages/docs.html, run this with --new, read what changed, run `make test-ui`.
set -euo pipefail

version=5.35.0
files=(LICENSE NOTICE swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css)
folder=$(dirname "${BASH_SOURCE[0]}")/static/swagger-ui-$version

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "swagger-ui-dist@$version" >/dev/null
tar -xzf "$work"/*.tgz -C "$work"
mkdir -p "$folder"
for file in "${files[@]}"; do
    cp "$work/package/$file" "$folder/$file"
done
cd "$folder"
chmod 644 "${files[@]}"
if [[ ${1:-} == --new ]]; then
    sha256sum "${files[@]}" >SHA256SUMS
fi
sha256sum --check --quiet SHA256SUMS || {
    echo "error: the package differs from SHA256SUMS; find out why before you use it" >&2
    exit 1
}
echo "Swagger UI $version: ${#files[@]} files, as in SHA256SUMS"
