#!/usr/bin/env bash
# Measures the line coverage of all crates: `make coverage`. It builds everything with counters into target/coverage and runs the
# tests of `make test`. Subprocess coverage counts, except for killed processes. Fails below $least percent.
#
#   infra/coverage.sh CARGO-LLVM-COV       the program of https://github.com/taiki-e/cargo-llvm-cov
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo_llvm_cov=$(realpath "${1:?the path of cargo-llvm-cov is missing; run make coverage}")
least=85
export CARGO_TARGET_DIR=$PWD/target/coverage CARGO_INCREMENTAL=0

# LLVM's tools must match the compiler's LLVM: rustup's, or Debian's.
if [[ ! -x $(rustc --print target-libdir)/../bin/llvm-cov ]]; then
    llvm=/usr/lib/llvm-$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\)\..*/\1/p')/bin
    export LLVM_COV=$llvm/llvm-cov LLVM_PROFDATA=$llvm/llvm-profdata
fi
env=$("$cargo_llvm_cov" llvm-cov show-env --sh)
eval "$env"
# %c maps the counters into the file, so that they survive the kill of a process.
export RUSTFLAGS="-C llvm-args=-runtime-counter-relocation" LLVM_PROFILE_FILE=$CARGO_TARGET_DIR/tandem-%p-%m%c.profraw
# Programs that a test starts with an environment of its own write to the working directory.
trap 'find . -name "default_*.profraw" -not -path "./target/*" -delete' EXIT
"$cargo_llvm_cov" llvm-cov clean --workspace
cargo build --workspace --bins --locked
cargo build --workspace --locked --features stateful-svc/broken --bin stateful-svc-broken
cargo test --workspace --locked
"$cargo_llvm_cov" llvm-cov report --summary-only --fail-under-lines "$least" --ignore-filename-regex '/tests/|tests\.rs$'
