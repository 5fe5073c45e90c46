#!/bin/sh
# How often `throng run --against` says what is so, on this machine.
#   scripts/compare.sh aa [N]          the same twice: at most 1 in 20 may be called better or worse
#   scripts/compare.sh slower [N]      the candidate takes 10 % more of the server's CPU per message: 9 in 10 must be called worse
#   scripts/compare.sh little [N]      1 % more: none may be called better
#   scripts/compare.sh record [N] >report/tests/fixtures/aa-240.csv    N runs of one thing (default 240), the fixture of report/tests/noise.rs
# N comparisons (default 10) of 24 runs of some three seconds each, as duets: COMPARE_TURNS=1 has them take turns instead, which takes a
# machine that nobody else has.
# Prints a line per comparison and the tally; COMPARE_OUT=DIR keeps the runs.
set -eu
cd "$(dirname "$0")/.."

what=${1:-aa}
duet=--duet
[ "${COMPARE_TURNS:-0}" = 0 ] || duet=
plan="pairs --closed-loop 8 -c 100 -d ${COMPARE_DURATION:-2s} -w 300ms"
cargo build --release --locked -p throng-cli
throng=${CARGO_TARGET_DIR:-target}/release/throng
home=${COMPARE_OUT:-$(mktemp -d)}
mkdir -p "$home"
# What this machine is known for would be in every comparison; each is to stand alone.
export XDG_STATE_HOME="$home/state"

figure() { # FILE NAME
    python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {"s": s}))' "$1" "$2"
}

case $what in
record)
    "$throng" run $plan --repeat "${2:-240}" -o "$home/runs" >&2
    exec python3 - "$home/runs" <<'PYTHON'
import json, pathlib, sys
names = ["messages_per_cpu_s", "cpu_us_per_message", "rate", "p50_us", "p99_us"]
print(",".join(names))
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/summary.json")):
    run = json.loads(path.read_text())
    latency = run["latency_us"]["planned_to_delivered"]
    print(",".join(f"{value:.6g}" for value in [
        run["server"]["messages_per_cpu_s"], run["machine"]["cpu_us_per_message"], run["messages"]["rate_per_s"],
        latency["p50"], latency["p99"]]))
PYTHON
    ;;
aa) share=0 ;;
slower) share=0.10 ;;
little) share=0.01 ;;
*) sed -n '2,9s/^# //p' "$0" >&2; exit 2 ;;
esac

# What a message costs the server, as the median of three.
for i in 1 2 3; do "$throng" run $plan -q -o "$home/cost-$i" >"$home/cost-$i.path"; done
cost=$(python3 - "$home" <<'PYTHON'
import json, statistics, sys
costs = [json.load(open(f"{sys.argv[1]}/cost-{i}/summary.json"))["server"]["messages_per_cpu_s"] for i in (1, 2, 3)]
print(1e6 / statistics.median(costs))
PYTHON
)
work=$(python3 -c "print(f'{$cost * $share:.4f}us')")
echo "a message costs the server $cost us; the candidate works $work more on each"
for i in $(seq "${2:-10}"); do
    "$throng" run $plan --work-per-message "$work" --against '--work-per-message 0us' $duet -q -o "$home/$i" >"$home/$i.path"
    figure "$home/$i/comparison.json" \
        '"comparison %s: %s; %s" % ("'"$i"'", s["judgement"], "; ".join("%s %s %.3f (%.3f to %.3f)" % (m["metric"], m["judgement"], m["ratio"], m["ratio_low"], m["ratio_high"]) for m in s["metrics"]))'
done
python3 - "$home" "${2:-10}" <<'PYTHON'
import collections, json, sys
home, count = sys.argv[1], int(sys.argv[2])
cost, overall = collections.Counter(), collections.Counter()
for i in range(1, count + 1):
    comparison = json.load(open(f"{home}/{i}/comparison.json"))
    overall[comparison["judgement"]] += 1
    cost[next(m["judgement"] for m in comparison["metrics"] if m["metric"] == "messages_per_cpu_s")] += 1
print("messages per server CPU-second:", dict(cost))
print("all figures together:", dict(overall))
PYTHON
