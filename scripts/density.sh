#!/usr/bin/env bash
# The records of density, one command each. Every one writes benches/runs/<UTC date>-<kernel>-density-<name>.md.
#
#   scripts/density.sh 1m       a million idle users, and a raw connect loop of the same size before each backend
#   scripts/density.sh 2500k    two and a half million idle users
#   scripts/density.sh slope    bytes per user, between 100,000 and 300,000
#   scripts/density.sh pairs    20,000 messages/s among a million users, and among 10,000
#   scripts/density.sh storms   200,000 users who all come at once
#   scripts/density.sh all      all of them: about an hour on two cores
#
# 1m needs 9 GiB of free memory, 2500k needs 22. Run as root, for the lab (without it the raw loop is left out), and leave
# the machine alone meanwhile. A try of all of it: DENSITY_SCALE=0.01 DENSITY_DURATION=3s DENSITY_OUT=target scripts/density.sh all
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${DENSITY_SCALE:-1}                     # of every number of users
duration=${DENSITY_DURATION:-60s}             # of every window
backends=${DENSITY_BACKENDS:-io-uring epoll}
connect_rate=${DENSITY_CONNECT_RATE:-150k}    # of the million: more than the machine can
out=${DENSITY_OUT:-benches/runs}
programs=${CARGO_TARGET_DIR:-target}/release

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A number of users, scaled: as 1m, 2500k or 1234.
users() {
    awk -v n="$1" -v scale="$scale" 'BEGIN {
        n = int(n * scale + 0.5); if (n < 2) n = 2
        if (n % 1000000 == 0) print n / 1000000 "m"; else if (n % 1000 == 0) print n / 1000 "k"; else print n
    }'
}

# note GROUP COMMAND..: the next row of the record's table; its files are $work/$row.*
note() {
    row=$(printf '%03d' $((10#$row + 1)))
    printf '%s\n' "$1" >"$work/$row.group"
    printf '%s\n' "${*:2}" >"$work/$row.command"
    printf '== %s\n' "${*:2}" >&2
}

# throng GROUP ARGUMENTS..: one run. A verdict other than PASS is a result, and stands in the record.
throng() {
    note "$1" throng "${@:2}"
    local code=0
    "$programs/throng" "${@:2}" -q -o "$work/$row.run" >/dev/null 2>"$work/$row.stderr" || code=$?
    printf '%s\n' "$code" >"$work/$row.exit"
    [ "$code" -ne 130 ] || exit 130
}

# floor USERS: the raw connect loop, in a network namespace that is set as the lab of `throng run` is.
floor() {
    [ "$(id -u)" -eq 0 ] || { echo "not root: without the raw connect loop" >&2; return 0; }
    note "" throng-floor connect -c "$1" --prefault --json
    local sockets=65536 wanted
    wanted=$(awk -v n="$1" 'BEGIN { k = n ~ /m$/ ? 1e6 : n ~ /k$/ ? 1e3 : 1; print 2 * n * k }')
    while [ "$sockets" -lt "$wanted" ] && [ "$sockets" -lt 16777216 ]; do sockets=$((2 * sockets)); done
    # The size of the table of connections is decided in the namespace outside.
    unshare -n sh -c 'echo "$0" >/proc/sys/net/ipv4/tcp_child_ehash_entries && exec unshare -n sh -c "$1" sh "$2" "$3"' \
        "$sockets" '
            if command -v ip >/dev/null; then ip link set lo up
            else python3 -c "import fcntl, socket, struct  # SIOCSIFFLAGS: IFF_UP and IFF_RUNNING
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack(\"16sH14x\", b\"lo\", 0x41))"
            fi
            echo 65535 >/proc/sys/net/core/somaxconn
            echo 65535 >/proc/sys/net/ipv4/tcp_max_syn_backlog
            echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
            exec "$1" connect -c "$2" --prefault --json' "$programs/throng-floor" "$1" \
        >"$work/$row.floor" 2>"$work/$row.stderr" || echo "the raw connect loop failed: $(tail -n 1 "$work/$row.stderr")" >&2
}

# record NAME: writes what was run since the last record.
record() {
    local file
    file=$out/$(date -u +%F)-$(uname -r)-density-$1.md
    python3 scripts/density.py "$1" "$work" "$commit" "$load" >"$work/record.md"
    mv "$work/record.md" "$file"
    rm -rf "$work"/[0-9]*
    row=000
    echo "$file"
}

million() {
    for backend in $backends; do
        floor "$(users 1000000)"
        throng "" run idle -c "$(users 1000000)" -d "$duration" --connect-rate "$connect_rate" --prefault --backend "$backend"
    done
    record 1m
}

most() {
    for backend in $backends; do
        throng "" run idle -c "$(users 2500000)" -d "$duration" --prefault --backend "$backend"
    done
    record 2500k
}

slope() {
    for backend in $backends; do
        for n in 100000 300000; do
            throng "$backend" run idle -c "$(users $n)" -d "$duration" --prefault --backend "$backend"
        done
    done
    record slope
}

pairs() {
    for backend in $backends; do
        for n in 10000 1000000; do
            throng "$backend" run pairs -c "$(users $n)" -r "$(users 20000)" -d "$duration" --prefault --backend "$backend"
        done
    done
    record pairs
}

storms() {
    for backend in $backends; do
        for storm in login-storm reconnect-storm; do
            for how in at-once jittered; do
                throng "" run "$storm" -c "$(users 200000)" --reconnect "$how" --prefault --backend "$backend"
            done
        done
    done
    record storms
}

case ${1:-} in
    1m) parts=million ;;
    2500k) parts=most ;;
    slope | pairs | storms) parts=$1 ;;
    all) parts="slope million pairs storms most" ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac

commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain)" ] || commit="$commit and changes"
cargo build --release --locked -p throng-cli -p throng-benches
mkdir -p "$out"
load=$(cut -d ' ' -f 1 /proc/loadavg)
row=000
for part in $parts; do "$part"; done
