#!/usr/bin/env python3
"""Measures what TLS costs, on this machine, and prints it as Markdown: scripts/tls.py [PART ..]

The parts, all of them when none is named (about 20 minutes on two cores):
  handshakes   handshakes per server CPU-second, of throng and of a bare loop of rustls in turns, full and resumed
  million      a million idle users with TLS, in user space (TLS_USERS=100k for fewer)
  sockets      250,000 idle users with TLS and real sockets
  pairs        messages per server CPU-second with TLS and without, in turns
  storm        20,000 handshakes at one instant beside 1,000 pairs who chat, and the same chat without, in turns

As root, for labs and for many descriptors. Builds the release binaries first. Two cores and more; leave the machine alone meanwhile.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import record

ROUNDS = 5
USERS = os.environ.get("TLS_USERS", "1m")
BUFFERED = "what rustls keeps of a buffered connection, in the bare loop just after"


def floor(*flags):
    """A line of `throng-floor tls`."""
    words = [record.PROGRAMS / "throng-floor", "tls", *flags]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def handshakes():
    rows = []
    for version in ["1.3", "1.2"]:
        for resumption in [[], ["--resumption"]]:
            ours, bare = [], []
            for turn in range(ROUNDS):
                measures = [
                    lambda: bare.append(floor("-n", "10k", "--version", version, *resumption)["handshakes_per_cpu_s"]),
                    lambda: ours.append(record.run("run", "idle", "-c", "20k", "--connect-rate", "50k", "-d", "1s", "--heartbeat", "0s",
                                                   "--tls", "--tls-version", version, *resumption)["tls"])]
                for measure in measures if turn % 2 == 0 else reversed(measures):
                    measure()
            ratios = [one["handshakes_per_cpu_s"] / other for one, other in zip(ours, bare)]
            resumed = sum(one["resumed"] for one in ours) / sum(one["sessions"] for one in ours)
            rows.append([version, "resumed" if resumption else "full", f"{100 * resumed:.0f} %",
                         f"{median(one['handshakes_per_cpu_s'] for one in ours):,.0f}", f"{median(bare):,.0f}",
                         f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"])
    record.table("Handshakes", f"{ROUNDS} pairs in turns. Throng's are of 20,000 users who log in, all that its server did until they were "
                 "held included; the bare loop's are of rustls' buffered connections over blocking sockets, one after the other, with a "
                 "question and an answer.",
                 ["version", "kind", "of throng's resumed", "throng, per server CPU-s", "bare", "ratio, median", "ratios"], rows)


def held(title, users, engine):
    summary = record.run("run", "idle", "-c", users, "--connect-rate", "50k", "-d", "60s", "--tls", "--prefault", "--engine", engine)
    buffered = floor("-n", "10k")["bytes_per_session"]
    connections, messages, tls = summary["connections"], summary["messages"], summary["tls"]
    server = summary["server"]["user_bytes_per_connection"]
    record.table(title, "Held for a minute with heartbeats; then every user sends one message and receives one. Server memory is user space, all "
                 f"in; beside it {BUFFERED}.",
                 ["figure", "value"],
                 [["verdict", summary["verdict"].upper()],
                  ["established", f"{connections['established']:,} of {connections['target']:,}"],
                  ["connections lost", connections["lost"]],
                  ["heartbeats answered", f"{summary['heartbeats']['answered']:,} of {summary['heartbeats']['due']:,}"],
                  ["messages delivered", f"{messages['delivered']:,} of {messages['planned']:,}"],
                  ["messages lost", messages["lost"]],
                  ["version, suite", f"{tls['version']} {tls['suite']}"],
                  ["not compact", tls["whole"]],
                  ["logged in per second", f"{connections['connect_rate_per_s']:,.0f}"],
                  ["server, bytes per session", f"{server:.1f}"],
                  ["of it TLS", f"{tls['bytes_per_session']:.1f}"],
                  ["generator, bytes per user", f"{summary['generator']['user_bytes_per_user']:.1f}"],
                  ["rustls buffered, bytes per session", f"{buffered:,.0f}"]])


def million():
    held(f"{USERS} users with TLS, in user space", USERS, "tun")


def sockets():
    held("250k users with TLS and real sockets", "250k", "kernel")


def pairs():
    rows = []
    for load in [["--closed-loop", "8", "-c", "400"], ["-c", "2k", "-r", "20k"]]:
        costs = {"": [], "--tls": []}
        for turn in range(ROUNDS):
            for flag in sorted(costs, reverse=turn % 2 == 1):
                summary = record.run("run", *load, "-d", "5s", "-w", "1s", *flag.split())
                costs[flag].append(summary["server"]["messages_per_cpu_s"])
        ratios = [tls / plain for tls, plain in zip(costs["--tls"], costs[""])]
        rows.append([f"`{' '.join(load)}`", f"{median(costs['--tls']):,.0f}", f"{median(costs['']):,.0f}", f"{median(ratios):.2f}",
                     f"{min(ratios):.2f} to {max(ratios):.2f}"])
    record.table("Messages per server CPU-second", f"{ROUNDS} pairs of runs in turns.",
                 ["load", "with TLS", "without", "ratio, median", "ratios"], rows)


def chat(home, storms):
    """The summaries of a chat, and of the storm beside it if there is one. Both generators have one core, the storm's when nobody else wants it."""
    certificate = [f"--cert={home}/cert.pem", f"--key={home}/key.pem"]
    trust = ["--tls", f"--cacert={home}/cert.pem", "--sni", "throng.test", "--no-tui", "-q"]
    program = record.PROGRAMS / "throng"
    server = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--serve-cpus", "0", "-c", "30k",
                               "--login-timeout", "60s", "--tls", "--no-tui", *certificate],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        _, address, _, admin, *_ = server.stdout.readline().split()
        with tempfile.TemporaryDirectory() as runs:
            words = [program, "load", address, "pairs", "-c", "2k", "-r", "2k", "-w", "3s", "-d", "4s", "--load-cpus", "1",
                     "--server-admin", admin, *trust, "-o", f"{runs}/chat"]
            chats = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3.3)  # The window begins a moment later.
            if storms:
                words = ["chrt", "-i", "0", program, "load", address, "login-storm", "--protocol", "connect", "-c", "20k", "-d", "6s",
                         "--load-cpus", "1", *trust, "-o", f"{runs}/storm"]
                subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            chats.wait()
            names = ["chat", "storm"] if storms else ["chat"]
            return [json.loads(Path(runs, name, "summary.json").read_text()) for name in names]
    finally:
        server.kill()
        server.wait()


def storm():
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-keyout", f"{home}/key.pem", "-out", f"{home}/cert.pem", "-subj", "/CN=throng.test",
                        "-addext", "subjectAltName=DNS:throng.test"], check=True, capture_output=True)
        rows = []
        for turn in range(ROUNDS):
            found = {}
            for storms in [False, True] if turn % 2 == 0 else [True, False]:
                found[storms] = chat(home, storms)
            [quiet], [busy, storming] = found[False], found[True]
            of = lambda summary, name: summary["latency_us"]["planned_to_delivered"][name]
            rows.append([f"{of(quiet, 'p50'):.0f} / {of(busy, 'p50'):.0f} us", f"{of(quiet, 'p99'):.0f} / {of(busy, 'p99'):.0f} us",
                         f"{of(busy, 'p99') / of(quiet, 'p99'):.2f}", busy["messages"]["lost"],
                         f"{storming['connections']['established']:,}", f"{storming['storm']['last_back_after_s']:.1f} s"])
    ratio = median(float(row[2]) for row in rows)
    record.table("A storm of handshakes beside a chat", f"1,000 pairs, 2,000 messages/s, planned to delivered; quiet, and while 20,000 clients shake hands who came at "
                 f"one instant. The median ratio of the p99 is {ratio:.2f}. Both generators have one core.",
                 ["p50, quiet / storm", "p99, quiet / storm", "ratio", "messages lost", "in at the end", "the last one after"], rows)


PARTS = {"handshakes": handshakes, "million": million, "sockets": sockets, "pairs": pairs, "storm": storm}


def main():
    names = sys.argv[1:] or list(PARTS)
    if odd := [name for name in names if name not in PARTS]:
        sys.exit(f"no part {odd[0]}: it is {', '.join(PARTS)}\n\n{__doc__}")
    record.build("throng-cli", "throng-benches")
    record.begin("What TLS costs", f"scripts/tls.py {' '.join(sys.argv[1:])}")
    for name in names:
        PARTS[name]()


if __name__ == "__main__":
    main()
