#!/usr/bin/env python3
"""Measures what the rules of `throng tune` rest on, on this machine, and prints it as Markdown: scripts/knobs.py [PART ..]

The parts: pages, connect, rings, defer, backlog; all of them when none is named. As root; takes about five minutes. Sockets and
runs are in network namespaces of their own. `backlog` sets net.core.netdev_max_backlog, which is the whole machine's, and puts it
back. Builds the release binary first where a part runs it.
"""

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import record

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")


def in_namespace(measure):
    """What `measure` returns, from a child in a network namespace of its own."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            if LIBC.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET): run it as root")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            os.write(write, json.dumps(measure()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    _, status = os.wait()
    if status:
        sys.exit("a measurement broke: see above")
    return json.loads(text)


def pages():
    """Pages of TCP memory for each queue that holds unread bytes."""
    count = 1_000

    def mem():
        line = next(line for line in open("/proc/net/sockstat") if line.startswith("TCP:"))
        return int(line.split()[-1])

    def measure():
        listener = socket.create_server(("127.0.0.1", 0), backlog=count)
        pairs = []
        for _ in range(count):
            client = socket.create_connection(listener.getsockname())
            pairs.append((client, listener.accept()[0]))
        rows, held = [], 0
        before = mem()
        for size in [100, 1_200, 4_000, 8_000, 16_000]:
            for client, _ in pairs:
                client.sendall(bytes(size - held))
            held = size
            time.sleep(0.5)
            rows.append([size, f"{(mem() - before) / count:.2f}", f"{1 + size / 4096:.2f}"])
        return rows

    record.table("Pages of a queue", f"`mem` of /proc/net/sockstat for {count} connections over loopback whose reader does not read. The kernel "
          "takes pages a few at a time for each core, so the figures are within some hundredths.",
          ["bytes unread", "pages each", "the rule: 1, and 1 for 4 KiB"], in_namespace(measure))


def connect():
    """How long connect() takes, by how much of the port range is taken."""
    first, ports = 10_000, 18_000

    def measure():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{first} {first + ports - 1}")
        Path("/proc/sys/net/core/somaxconn").write_text("65535")
        listener = socket.create_server(("127.0.0.1", 9_000), backlog=65_535)
        files = ports + 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        # They wait in the accept queue, which takes no descriptor.
        kept, took = [listener], []
        for _ in range(ports):
            client = socket.socket()
            kept.append(client)
            start = time.perf_counter_ns()
            client.connect(("127.0.0.1", 9_000))
            took.append((time.perf_counter_ns() - start) / 1_000)
        tenth = ports // 10
        parts = [took[i * tenth:(i + 1) * tenth] for i in range(10)]
        return [[f"{i * 10} to {i * 10 + 10} %", f"{median(part):.0f}", f"{max(part):.0f}"] for i, part in enumerate(parts)]

    record.table("connect() by how full the port range is", f"{ports} ports of one source address, all to one target; the time of the system call.",
          ["of the range taken", "median, us", "longest, us"], in_namespace(measure))


def rings():
    """The least RLIMIT_MEMLOCK under which a ring like Throng's can be made."""
    # SUBMIT_ALL, COOP_TASKRUN or DEFER_TASKRUN, TASKRUN_FLAG, SINGLE_ISSUER, NO_SQARRAY, CLAMP, CQSIZE
    common = 1 << 7 | 1 << 9 | 1 << 12 | 1 << 16 | 1 << 4 | 1 << 3
    setup, entries, completions = 425, 256, 4_096

    def fits(kib):
        child = os.fork()
        if child == 0:
            os.setgroups([])
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (kib << 10, kib << 10))
            # It counts for all of a user together, and what a ring had comes back a moment after its end: a user for each.
            os.setuid(60_000 + kib)
            params = (ctypes.c_uint32 * 30)(0, completions, common | 1 << 13)
            os._exit(0 if LIBC.syscall(setup, entries, params) >= 0 else ctypes.get_errno())
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    results = [(kib, fits(kib)) for kib in range(72, 100, 4)]
    record.table("Locked memory of a ring", f"{entries} submissions, {completions} completions, as an ordinary user without CAP_IPC_LOCK.",
          ["RLIMIT_MEMLOCK, KiB", "io_uring_setup()"],
          [[kib, os.strerror(error) if error else "a ring"] for kib, error in results])


def throng(*flags):
    return record.run("run", *flags, "--force")


def defer():
    """Logins per second, and what they cost, with TCP_DEFER_ACCEPT and without."""
    plan = ["idle", "-c", "50k", "--connect-rate", "1m", "-d", "1s", "-w", "100ms", "--heartbeat", "0s"]
    rates = {"0s": [], "1s": []}
    for turn in range(5):
        for value in sorted(rates, reverse=turn % 2 == 1):
            rates[value].append(throng(*plan, "--defer-accept", value)["connections"]["connect_rate_per_s"])
    ratio = median(b / a for a, b in zip(rates["0s"], rates["1s"]))
    record.table("Logins with TCP_DEFER_ACCEPT", f"`throng run {' '.join(plan)} --defer-accept T`, five each, in turns; the median ratio is {ratio:.2f}.",
          ["--defer-accept", "logins/s, median", "least", "most"],
          [[value, *(f"{f(all):.0f}" for f in (median, min, max))] for value, all in rates.items()])


def backlog():
    """Packets dropped while users log in, chat and leave."""
    before, rows = BACKLOG.read_text().strip(), []
    try:
        for users in ["1k", "5k", "20k", "50k"]:
            for value in ["1000", "16384"]:
                BACKLOG.write_text(value)
                runs = [throng("pairs", "-c", users, "-r", "5k", "-d", "2s", "-w", "500ms")["kernel"]["counters"] for _ in range(3)]
                rows.append([users, value, ", ".join(str(run.get("softnet_dropped", 0)) for run in runs)])
    finally:
        BACKLOG.write_text(before)
    record.table("Packets beyond net.core.netdev_max_backlog", "`throng run pairs -c USERS -r 5k -d 2s -w 500ms`, three each: packets that the kernel dropped.",
          ["users", "netdev_max_backlog", "dropped"], rows)


PARTS = {"pages": pages, "connect": connect, "rings": rings, "defer": defer, "backlog": backlog}


def main():
    names = sys.argv[1:] or list(PARTS)
    if odd := [name for name in names if name not in PARTS]:
        sys.exit(f"no part {odd[0]}: it is {', '.join(PARTS)}\n\n{__doc__}")
    if os.geteuid() != 0:
        sys.exit("network namespaces take root: sudo scripts/knobs.py")
    if {"defer", "backlog"} & set(names):
        record.build("throng-cli")
    record.begin("What the rules of `throng tune` rest on", f"scripts/knobs.py {' '.join(sys.argv[1:])}")
    for name in names:
        PARTS[name]()


if __name__ == "__main__":
    main()
