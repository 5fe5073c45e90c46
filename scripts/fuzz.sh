#!/usr/bin/env bash
# Fuzzes one target, or each for as long: with libFuzzer and the stable compiler. Needs a C++ compiler.
#
#   scripts/fuzz.sh                    every target, a minute each
#   scripts/fuzz.sh stack 600          one of them, ten minutes
#
# What breaks a target is kept in fuzz/artifacts/TARGET; what it learned in fuzz/corpus/TARGET, to begin with next time.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${2:-60}
targets=(segment stack tls)
[ $# -eq 0 ] || targets=("$1")
command -v c++ >/dev/null || { echo "fuzz.sh: libFuzzer is C++, and there is no c++: install g++" >&2; exit 2; }

# What cargo-fuzz sets, as far as the stable compiler has it: edges are counted, and no sanitizer watches, since there is
# nothing unsafe to watch.
export RUSTFLAGS="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1 -C debug-assertions -C overflow-checks --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "${targets[@]}"; do
    # With a target named, build scripts and macros go without the flags.
    cargo build --release --locked --target "$host" --bin "$target"
    mkdir -p "corpus/$target" "artifacts/$target"
    "target/$host/release/$target" -max_total_time="$seconds" -max_len=4096 -artifact_prefix="artifacts/$target/" \
        "corpus/$target"
done
