#!/usr/bin/env bash
# The one gate: what must hold before anything is committed.
#
#   scripts/check.sh             everything
#   scripts/check.sh quick       formatting, lints and house rules: under a minute once things are built
#   scripts/check.sh host        tests that set this machine for some seconds each, and put it back: as root, with nothing else running
#   scripts/check.sh untested    everything but the tests, for CI, which runs them by the command that the README gives
#
# CI=true makes a test fail that would else be skipped for want of a tool or of root.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*" >&2; "$@"; }

if [ "${1:-}" = host ]; then
    step cargo test --workspace --locked --test host -- --nocapture
    exit 0
fi

step cargo fmt --all -- --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
# All targets are those that `cargo test` runs.
step cargo clippy --workspace --test host --locked -- -D warnings
# Of the whole workspace: of one crate alone its dependencies would be built again, with other features.
step cargo test --workspace --locked --test tidy
[ "${1:-}" = quick ] && exit 0

if [ "${1:-}" = untested ]; then
    :
elif cargo nextest --version >/dev/null 2>&1; then
    step cargo nextest run --workspace --locked --no-fail-fast
    step cargo test --workspace --locked --doc
else
    step cargo test --workspace --locked --no-fail-fast
fi
step env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --locked check bans licenses sources
fi
