#!/usr/bin/env bash
# Pins images of others by digest: rewrites each `name:tag` in the Dockerfile and in the Compose files to `name:tag@sha256:…`,
# and prints them. A release is built from the result and ships it. Images of ours have the release's version.
#
#   infra/release/pin-images.sh [FOLDER]           in infra/compose, or in this copy of it
#   infra/release/pin-images.sh --check [FOLDER]   changes nothing, and fails if an image is not pinned
#
# RESOLVE is the command that prints an image's digest; by default Docker's buildx asks the registry. The digest is that of the
# index, so it holds for each architecture.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

check=0
if [[ ${1:-} == --check ]]; then
    check=1
    shift
fi
folder=${1:-infra/compose}

resolve() {
    if [[ -n ${RESOLVE:-} ]]; then
        $RESOLVE "$1"
    else
        docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'
    fi
}

files=("$folder/Dockerfile" "$folder"/compose*.yaml)
# `image: name:tag` of Compose, and `ARG …_IMAGE=name:tag` of the Dockerfile.
references='^[[:space:]]*image:[[:space:]]*[^[:space:]#]+|^ARG [A-Z]+_IMAGE=[^[:space:]]+'
mapfile -t images < <(grep -hoE "$references" "${files[@]}" | sed -E 's/^[[:space:]]*image:[[:space:]]*|^ARG [A-Z]+_IMAGE=//' | grep -v '^tandem/' | sort -u)
((${#images[@]})) || {
    echo "error: $folder names no image" >&2
    exit 1
}

unpinned=0
for image in "${images[@]}"; do
    if [[ $image == *@sha256:* ]]; then
        echo "$image"
        continue
    fi
    if ((check)); then
        echo "error: $image has no digest" >&2
        unpinned=1
        continue
    fi
    digest=$(resolve "$image")
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || {
        echo "error: '$digest' is no digest of $image" >&2
        exit 1
    }
    # A name may be a part of another: only whole ones.
    sed -i -E "s|^([[:space:]]*image:[[:space:]]*\|ARG [A-Z]+_IMAGE=)${image//./\\.}([[:space:]]\|\$)|\1$image@$digest\2|" "${files[@]}"
    echo "$image@$digest"
done
exit "$unpinned"
