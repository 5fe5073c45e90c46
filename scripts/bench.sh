#!/bin/sh
# What a message costs: raw relay, Redis (where redis-server is installed) and `throng run`, in turn.
#   scripts/bench.sh [throng-compare's options] [-- options of `throng run`]
# On more than two cores give Throng the same two as the others: `-- --serve-cpus 0 --load-cpus 1`.
# Writes benches/runs/<UTC date>-<kernel>-$WHAT.md (WHAT: relay). About 10 minutes; leave the machine alone meanwhile.
set -eu
cd "$(dirname "$0")/.."

programs=${CARGO_TARGET_DIR:-target}/release
out=benches/runs/$(date -u +%F)-$(uname -r)-${WHAT:-relay}.md
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain)" ] || commit="$commit and changes"

mkdir -p benches/runs
cargo build --release --locked -p throng-cli -p throng-benches

if redis=$(command -v redis-server); then
    set -- --redis "$redis" "$@"
else
    echo "redis-server is not installed: compared without it" >&2
fi
exec "$programs/throng-compare" --commit "$commit" --out "$out" "$@"
