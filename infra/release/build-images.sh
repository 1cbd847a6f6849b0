#!/usr/bin/env bash
# Builds the images of a release for one architecture, describes each (CycloneDX), and scans it for packages with known
# vulnerabilities. The workflow `Release` runs it, with pinned base images, on a machine of that architecture.
#
#   infra/release/build-images.sh ARCH FOLDER       amd64 or arm64; the results are in FOLDER
#
# SYFT and GRYPE are the programs, IMAGES the targets of the Dockerfile, REGISTRY the beginning of the images' names, and
# GITHUB_REF_NAME the tag. The programs record their crates (cargo auditable), so the inventory of an image has them, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

arch=${1:?the architecture is missing} out=${2:?the folder is missing}
version=${GITHUB_REF_NAME:?the tag is missing}
version=${version#v}
mkdir -p "$out"

infra/release/pin-images.sh --check >/dev/null
for image in ${IMAGES:?}; do
    name=${REGISTRY,,}/$image:$version-$arch
    docker buildx build --file infra/compose/Dockerfile --target "$image" --platform "linux/$arch" --load --tag "$name" \
        --build-arg PROFILE=dist --build-arg AUDITABLE=1 --build-arg "VERSION=$version" --build-arg "REVISION=${GITHUB_SHA:-unknown}" .
    "$SYFT" scan "docker:$name" --output "cyclonedx-json=$out/$image-$version-$arch.cdx.json"
    # Only what could be mended: without a fix there is nothing to update to. The report has the rest.
    "$GRYPE" "sbom:$out/$image-$version-$arch.cdx.json" --output table --file "$out/$image-$version-$arch.scan.txt"
    "$GRYPE" "sbom:$out/$image-$version-$arch.cdx.json" --only-fixed --fail-on high
done

# The programs, as the images have them.
for program in gateway stateless-svc stateful-svc loadtest; do
    container=$(docker create "${REGISTRY,,}/$program:$version-$arch")
    docker cp "$container:/usr/local/bin/$program" "$out/$program"
    docker rm "$container" >/dev/null
done
tar -C "$out" -czf "$out/tandem-$version-linux-$arch.tar.gz" gateway stateless-svc stateful-svc loadtest
rm -- "$out"/{gateway,stateless-svc,stateful-svc,loadtest}
