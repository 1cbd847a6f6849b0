#!/usr/bin/env bash
# Measures which lines the tests run, over all crates of the workspace: `make coverage`. It builds everything anew, with counters in
# it, into target/coverage, and runs the tests of `make test`; what the programs do that tests start counts as well. Fails below
# $least percent.
#
#   infra/coverage.sh CARGO-LLVM-COV       the program of https://github.com/taiki-e/cargo-llvm-cov
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo_llvm_cov=$(realpath "${1:?say where cargo-llvm-cov is: make coverage}")
least=85
export CARGO_TARGET_DIR=$PWD/target/coverage CARGO_INCREMENTAL=0

# LLVM's tools must be of the compiler's LLVM: those that rustup has, or Debian's.
if [[ ! -x $(rustc --print target-libdir)/../bin/llvm-cov ]]; then
    llvm=/usr/lib/llvm-$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\)\..*/\1/p')/bin
    export LLVM_COV=$llvm/llvm-cov LLVM_PROFDATA=$llvm/llvm-profdata
fi
env=$("$cargo_llvm_cov" llvm-cov show-env --sh)
eval "$env"
# A process that is killed, as many are here, must have written its counters before: they are mapped into its file (%c).
export RUSTFLAGS="-C llvm-args=-runtime-counter-relocation" LLVM_PROFILE_FILE=$CARGO_TARGET_DIR/tandem-%p-%m%c.profraw
# Programs that a test starts with an environment of its own do not know that name, and write where they are.
trap 'find . -name "default_*.profraw" -not -path "./target/*" -delete' EXIT
"$cargo_llvm_cov" llvm-cov clean --workspace
cargo build --workspace --bins --locked
cargo build --workspace --locked --features stateful-svc/broken --bin stateful-svc-broken
cargo test --workspace --locked
"$cargo_llvm_cov" llvm-cov report --summary-only --fail-under-lines "$least" --ignore-filename-regex '/tests/|tests\.rs$'
