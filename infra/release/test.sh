#!/usr/bin/env bash
# Tests what a release does to files, without a registry: make lint-infra runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "error: $1" >&2
    exit 1
}

# A digest for each name, as a registry has.
cat >"$work/resolve" <<'END'
#!/bin/sh
printf 'sha256:%s\n' "$(printf %s "$1" | sha256sum | cut -d ' ' -f 1)"
END
chmod +x "$work/resolve"

cp -r infra/compose "$work/compose"
if infra/release/pin-images.sh --check "$work/compose" >/dev/null 2>&1; then fail 'tags were taken for digests'; fi
RESOLVE=$work/resolve infra/release/pin-images.sh "$work/compose" >"$work/images.lock"
infra/release/pin-images.sh --check "$work/compose" >/dev/null
grep -q "^ARG BASE_IMAGE=debian:bookworm-slim@$("$work/resolve" debian:bookworm-slim)\$" "$work/compose/Dockerfile" || fail 'the Dockerfile is not pinned'
grep -q "^ *image: postgres:15-bookworm@sha256:" "$work/compose/compose.yaml" || fail 'compose.yaml is not pinned'
if grep -rhE '^ *image: ' "$work"/compose/compose*.yaml | grep -vE '@sha256:[0-9a-f]{64}( |$)|tandem/' >&2; then fail 'an image is not pinned'; fi
if grep -rhE 'image: .*@.*@' "$work"/compose/compose*.yaml >&2; then fail 'an image is pinned twice'; fi
[[ $(sort -u "$work/images.lock" | wc -l) -eq $(wc -l <"$work/images.lock") ]] || fail 'an image is listed twice'
# Once more changes nothing, and only digests differ from the repository's files.
cp -r "$work/compose" "$work/again"
RESOLVE=false infra/release/pin-images.sh "$work/again" >/dev/null
diff -r "$work/compose" "$work/again" >&2 || fail 'a pinned file was changed'
for file in infra/compose/Dockerfile infra/compose/compose*.yaml; do
    sed -E 's/@sha256:[0-9a-f]{64}//' "$work/compose/${file##*/}" | diff "$file" - >&2 || fail "$file has another change"
done
# What a registry returns must be a digest.
cp -r infra/compose "$work/wrong"
if RESOLVE='echo' infra/release/pin-images.sh "$work/wrong" >/dev/null 2>&1; then fail 'a name was taken for a digest'; fi

# The schema knows pinned files, too.
if command -v check-jsonschema >/dev/null; then
    check-jsonschema --quiet --builtin-schema vendor.compose-spec "$work"/compose/compose*.yaml
fi
echo "$(wc -l <"$work/images.lock") images are pinned"
