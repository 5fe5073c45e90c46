#!/usr/bin/env bash
# The records of density, one command each. Every one writes benches/runs/<UTC date>-<kernel>-density-<name>.md, and what it
# is made of beside it: <NN>-<what>.json in a folder of the same name. A record that is there stays: the next one is <name>-2.
#
#   scripts/density.sh 1m       a million idle users, and a raw connect loop of the same size before each run
#   scripts/density.sh 2500k    two and a half million idle users
#   scripts/density.sh slope    bytes per user, between 100,000 and 300,000
#   scripts/density.sh pairs    20,000 messages/s among a million users, and among 10,000
#   scripts/density.sh storms   200,000 users who all come at once
#   scripts/density.sh 5m       five million idle users in user space, and a raw SYN/ACK loop over the same device before
#   scripts/density.sh engines  the same loads by users with sockets and by users in user space
#   scripts/density.sh all      all of them: about an hour and a half on two cores
#
# Ends with 1 if a target of the record was missed. The run folders are then kept, and stderr says where.
#
# 1m needs 9 GiB of free memory, 2500k and 5m need 22. Run as root, for the lab (without it the raw loop is left out, and its target
# missed), and leave the machine alone meanwhile. A try of all of it, in which few users pay for what exists once:
# DENSITY_SCALE=0.01 DENSITY_DURATION=3s DENSITY_OUT=target scripts/density.sh all
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${DENSITY_SCALE:-1}                     # of every number of users and of the rate of messages
duration=${DENSITY_DURATION:-60s}             # of every window
rounds=${DENSITY_ROUNDS:-1}                   # of 1m: each is a raw loop and a run of every backend
backends=${DENSITY_BACKENDS:-io-uring epoll}
out=${DENSITY_OUT:-benches/runs}
programs=${CARGO_TARGET_DIR:-target}/release

refuse() { echo "density.sh: $*" >&2; exit 2; }

# A number of users, scaled: as 1m, 2500k or 1234.
users() {
    awk -v n="$1" -v scale="$scale" 'BEGIN {
        n = int(n * scale + 0.5); if (n < 2) n = 2
        if (n % 1000000 == 0) print n / 1000000 "m"; else if (n % 1000 == 0) print n / 1000 "k"; else print n
    }'
}

# begin NAME: what is run from here on belongs to that record.
begin() {
    name=$1 row=000
    mkdir "$work/$name"
    cp "$work"/*.fact "$work/$name"
}

# note GROUP COMMAND..: the next row of the record's table; its files are $at.*
note() {
    row=$(printf '%03d' $((10#$row + 1)))
    at=$work/$name/$row
    printf '%s\n' "$1" >"$at.group"
    printf '%s\n' "${*:2}" >"$at.command"
    printf '== %s %s: %s\n' "$name" "$row" "${*:2}" >&2
    began=$SECONDS
}

# came TEXT: what came of the row.
came() {
    printf '   %s after %s s\n' "$1" $((SECONDS - began)) >&2
    sed 's/^/   | /' "$at.stderr" >&2
}

# throng GROUP ARGUMENTS..: one run. A verdict other than PASS, and none at all, are results: they stand in the record.
throng() {
    note "$1" throng "${@:2}"
    local code=0
    "$programs/throng" "${@:2}" -q -o "$at.run" >/dev/null 2>"$at.stderr" || code=$?
    printf '%s\n' "$code" >"$at.exit"
    case $code in
        0) came PASS ;;
        98) came INVALID ;;
        99) came FAIL ;;
        *) came "no verdict, exit $code," ;;
    esac
    [ "$code" -ne 130 ] || exit 130
}

# floor USERS [--tun]: the raw connect loop, over loopback or a TUN device, in a network namespace that is set as tune/src/lab.rs sets
# that of `throng run`. Leaves its rate in $floor_rate; empty if there is none.
floor() {
    floor_rate=
    [ "$(id -u)" -eq 0 ] || { echo "not root: without the raw connect loop" >&2; return 0; }
    local what=(connect -c "$1" "${@:2}" --prefault --json) ends=$((3 - $#))
    note "" throng-floor "${what[@]}"
    local sockets entries=65536 leaving
    sockets=$(awk -v n="$1" -v ends="$ends" 'BEGIN { k = n ~ /m$/ ? 1e6 : n ~ /k$/ ? 1e3 : 1; printf "%d", ends * n * k }')
    while [ "$entries" -lt "$sockets" ] && [ "$entries" -lt 16777216 ]; do entries=$((2 * entries)); done
    leaving=$((entries / 2 > sockets ? entries / 2 : sockets))
    # Older kernels lack some; what was not set then stands in the record, as with the lab.
    # shellcheck disable=SC2016 # the shells in the namespaces expand it
    local put='put() { echo "$2" >"/proc/sys/net/$1" || echo "not set: net/$1 $2" >&2; }'
    # The size of the table of connections is decided in the namespace outside.
    # shellcheck disable=SC2016
    unshare -n sh -c "$put"'
        put ipv4/tcp_child_ehash_entries "$1"; shift; exec unshare -n sh -c "$@"' sh "$entries" "$put"'
        if command -v ip >/dev/null; then ip link set lo up
        else python3 -c "import fcntl, socket, struct  # SIOCSIFFLAGS: IFF_UP and IFF_RUNNING
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack(\"16sH14x\", b\"lo\", 0x41))"
        fi
        put ipv4/ip_local_port_range "10000 65535"
        put core/somaxconn 65535
        put ipv4/tcp_max_syn_backlog 65535
        put ipv4/tcp_migrate_req 1
        put ipv4/tcp_tw_reuse 1
        put ipv4/tcp_max_tw_buckets "$1"
        shift; exec "$@"' sh "$leaving" "$programs/throng-floor" "${what[@]}" \
        >"$at.floor" 2>"$at.stderr" || { rm -f "$at.floor"; came "the raw connect loop failed"; return 0; }
    floor_rate=$(python3 -c 'import json, sys; print(round(json.load(sys.stdin)["rate_per_s"]))' <"$at.floor")
    came "$floor_rate connections/s"
}

# The rate at which to ask for connections: more than the machine can, so that it caps nothing.
more_than_the_floor() {
    if [ -n "$floor_rate" ]; then echo "$(((4 * floor_rate + 999) / 1000))k"; else echo 150k; fi
}

# Writes the record.
finish() {
    local record code=0 n=1
    record=$(date -u +%F)-$(uname -r)-density-$name
    while [ -e "$out/$record.md" ] || [ -e "$out/$record" ]; do
        n=$((n + 1))
        record=$(date -u +%F)-$(uname -r)-density-$name-$n
    done
    python3 scripts/density.py "$name" "$work/$name" "$out/$record" || code=$?
    case $code in
        0) ;;
        3) missed="$missed $name" ;;
        *) exit "$code" ;;
    esac
    echo "$out/$record.md"
}

million() {
    begin 1m
    for ((round = 1; round <= rounds; round++)); do
        for backend in $backends; do
            floor "$(users 1000000)"
            throng "$round" run idle -c "$(users 1000000)" -d "$duration" --connect-rate "$(more_than_the_floor)" --prefault \
                --backend "$backend"
        done
    done
    finish
}

most() {
    begin 2500k
    for backend in $backends; do
        throng "" run idle -c "$(users 2500000)" -d "$duration" --prefault --backend "$backend"
    done
    finish
}

slope() {
    begin slope
    for backend in $backends; do
        for n in 100000 300000; do
            throng "$backend" run idle -c "$(users $n)" -d "$duration" --prefault --backend "$backend"
        done
    done
    finish
}

pairs() {
    begin pairs
    for backend in $backends; do
        for n in 10000 1000000; do
            throng "$backend" run pairs -c "$(users $n)" -r "$(users 20000)" -d "$duration" --prefault --backend "$backend"
        done
    done
    finish
}

storms() {
    begin storms
    for backend in $backends; do
        # Nobody has lost a connection yet: how to come back makes no difference.
        throng "" run login-storm -c "$(users 200000)" --prefault --backend "$backend"
        for how in at-once jittered; do
            throng "" run reconnect-storm -c "$(users 200000)" --reconnect "$how" --prefault --backend "$backend"
        done
    done
    finish
}

five_million() {
    begin 5m
    floor "$(users 5000000)" --tun
    throng 1 run idle -c "$(users 5000000)" -d "$duration" --connect-rate "$(more_than_the_floor)" --prefault \
        --engine tun --backend io-uring
    finish
}

engines() {
    begin engines
    for engine in kernel tun; do
        for load in "-c 1k --closed-loop 8" "-c $(users 1000000) -r $(users 20000)"; do
            # shellcheck disable=SC2086 # words
            throng pairs run pairs $load -d "$duration" --prefault --engine "$engine" --backend io-uring
        done
        for n in 100000 300000; do
            throng "$engine" run idle -c "$(users $n)" -d "$duration" --prefault --engine "$engine" --backend io-uring
        done
    done
    finish
}

case ${1:-} in
    1m) parts=million ;;
    2500k) parts=most ;;
    5m) parts=five_million ;;
    slope | pairs | storms | engines) parts=$1 ;;
    all) parts="slope million pairs storms engines most five_million" ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
awk -v scale="$scale" 'BEGIN { exit !(scale ~ /^[0-9]*[.]?[0-9]+$/ && scale > 0) }' ||
    refuse "DENSITY_SCALE=$scale is no number above 0"
[[ $rounds =~ ^[1-9][0-9]?$ ]] || refuse "DENSITY_ROUNDS=$rounds is not between 1 and 99"
if [ -z "${DENSITY_OUT:-}" ] && awk -v scale="$scale" 'BEGIN { exit scale == 1 }'; then
    refuse "DENSITY_SCALE=$scale is a try and no record: say with DENSITY_OUT where it goes, say DENSITY_OUT=target"
fi

# Before the build, which is a load of its own.
load=$(cut -d ' ' -f 1-3 /proc/loadavg)
free=$(awk '/^MemAvailable:/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)
echo "load average $load, $free of memory available" >&2
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain -- . ':!benches/runs')" ] || commit="$commit and changes"
cargo build --release --locked -p throng-cli -p throng-benches
mkdir -p "$out"

work=$(mktemp -d)
trap 'code=$?; if [ "$code" -eq 0 ]; then rm -rf "$work"; else echo "everything that was run is kept in $work" >&2; fi' EXIT
for fact in commit load free scale; do printf '%s\n' "${!fact}" >"$work/$fact.fact"; done
missed=
for part in $parts; do "$part"; done
[ -z "$missed" ] || { echo "targets were missed:$missed" >&2; exit 1; }
