#!/usr/bin/env bash
# Builds the gateway with profile-guided optimisation: once with counters, which a load of our own
# fills, and once with the profile. Needs an llvm-profdata of the compiler's LLVM version (Debian:
# the package llvm-N; rustup: the component llvm-tools). Without one it builds without a profile.
#
# Usage: infra/dist.sh LOADTEST
# LOADTEST is the loadtest program that trains; it needs local-stack beside it. The result is
# target/pgo/gateway.
set -euo pipefail
cd "$(dirname "$0")/.."

loadtest=$(realpath "${1:?usage: infra/dist.sh LOADTEST}")
out=$PWD/target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

# Whether the program exists and reads the profiles of this compiler.
fits() {
    command -v "$1" >/dev/null && "$1" merge --version 2>/dev/null | grep -q "LLVM version $llvm\."
}

profdata=
for candidate in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    "llvm-profdata-$llvm" llvm-profdata; do
    if fits "$candidate"; then
        profdata=$candidate
        break
    fi
done
if [[ -z $profdata ]]; then
    echo "no llvm-profdata of LLVM $llvm: building without a profile (Debian: apt-get install llvm-$llvm)"
    cargo build --profile dist --locked -p gateway --bins
    mkdir -p "$out"
    cp target/dist/gateway "$out/gateway"
    exit
fi

# With --target, build scripts and macros get no flags. Each profile has its own name, since cargo
# builds anew when flags change, not when a file does.
build() {
    CARGO_TARGET_DIR=$out/$1 RUSTFLAGS="${RUSTFLAGS:-} $2" \
        cargo build --profile dist --locked -p gateway --bins --target "$host"
}

echo '1/3 building with counters'
build counted "-Cprofile-generate=$out/raw"
echo '2/3 training'
rm -rf "$out/raw"
# Small and large responses, uploads, many connections: what `make bench` measures.
"$loadtest" bench --parts proxies --proxies gateway --rounds 1 --round-s 1 \
    --other-gateway "$out/counted/$host/dist/gateway"
merged=$out/merged.profdata
"$profdata" merge --output="$merged" "$out"/raw
profile=$out/gateway-$(sha256sum "$merged" | cut -c1-16).profdata
mv "$merged" "$profile"
echo '3/3 building with the profile'
build profiled "-Cprofile-use=$profile"
cp "$out/profiled/$host/dist/gateway" "$out/gateway"
echo "built: target/pgo/gateway"
