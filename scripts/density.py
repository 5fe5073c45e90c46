#!/usr/bin/env python3
"""Turns the runs of scripts/density.sh into a record: density.py NAME FOLDER COMMIT LOAD_AVERAGE, Markdown on stdout.

FOLDER holds, for each row, what was run (*.command, *.group), and what came of it: a run folder (*.run), or the raw
connect loop's line (*.floor). What a summary does not have is shown as `-`.
"""

import json
import os
import re
import sys
from pathlib import Path

TITLES = {
    "1m": ("A million idle users", "Held for the window with heartbeats; then every user sends one message and receives one. "
           "The connect rate is of the whole ramp, from the first planned instant until the last user is logged in. The raw loop "
           "accepts, connects and keeps, with blocking calls and nothing else, as many connections, just before."),
    "2500k": ("Two and a half million idle users", "Held for the window with heartbeats; then every user sends one message and "
              "receives one. Both ends are real sockets of one machine."),
    "slope": ("What one more idle user costs", "The slope is the difference between the two runs of a backend, divided by the "
              "difference in users: what is there once costs nothing in it."),
    "pairs": ("The same rate among a million users and among 10,000", "Open loop. Latency is planned to delivered. The ratio is "
              "the server's CPU per message against the fewest users of the same backend."),
    "storms": ("Storms of connections", "login-storm: everybody connects at one instant. reconnect-storm: half of the users lose "
               "their connection at one instant and come back. Times count from the planned instant of a user's first attempt."),
}


def read(path):
    """A file's text without the newline at its end; None where there is none."""
    return path.read_text().rstrip("\n") if path.exists() else None


def at(tree, path):
    """What stands in a summary under a dotted path; None where something is missing."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def rate(value):
    return "-" if value is None else f"{value:,.0f}/s"


def micros(value):
    """Microseconds, in a unit that a person reads."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1e6), ("ms", 1e3)):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return f"{value:.1f} us"


def divided(a, b):
    return a / b if a is not None and b else None


def both(summary, first, second):
    return f"{number(at(summary, first))} / {number(at(summary, second))}"


class Row:
    """One run, or one raw connect loop."""

    def __init__(self, folder, name):
        self.command = read(folder / f"{name}.command")
        self.group = read(folder / f"{name}.group")
        floor = read(folder / f"{name}.floor")
        self.floor = json.loads(floor) if floor else None
        summary = read(folder / f"{name}.run" / "summary.json")
        self.summary = json.loads(summary) if summary else None
        self.exit = read(folder / f"{name}.exit")
        said = (read(folder / f"{name}.stderr") or "").replace(f"{folder}/", "").splitlines()
        errors = [line for line in said if re.match(r"(error|throng[a-z-]*):", line)]
        self.said = (errors + said[-1:] + ["nothing was said"])[0]

    def of(self, path):
        return at(self.summary, path)

    def backend(self):
        asked = re.search(r"--backend (\S+)", self.command)
        return self.of("server.backend.active") or (asked.group(1) if asked else "-")

    def verdict(self):
        return (self.of("verdict") or f"none, exit {self.exit}").upper()

    def users(self):
        return self.of("plan.connections") or self.of("connections.target")

    def server_us_per_message(self):
        return divided(1e6, self.of("server.messages_per_cpu_s"))


def idle_table(rows):
    floor, table = None, [[
        "backend", "verdict", "established", "failed", "lost connections", "heartbeats due / answered",
        "messages sent / delivered", "lost", "connect rate, logged in", "raw loop", "of the raw loop",
        "server B/user", "generator B/user", "kernel B/end", "of it beyond the socket"]]
    for row in rows:
        if row.command.startswith("throng-floor"):
            floor = at(row.floor, "rate_per_s")
            continue
        connects = row.of("connections.connect_rate_per_s")
        table.append([
            row.backend(), row.verdict(), number(row.of("connections.established")), number(row.of("connections.failed")),
            number(row.of("connections.lost")), both(row.summary, "heartbeats.due", "heartbeats.answered"),
            both(row.summary, "messages.sent", "messages.delivered"), number(row.of("messages.lost")),
            rate(connects), rate(floor), number(divided(connects, floor), 2),
            *memory(row)])
        floor = None
    return table


def memory(row):
    return [number(row.of(path)) for path in (
        "server.user_bytes_per_connection", "generator.user_bytes_per_user",
        "kernel.bytes_per_connection", "kernel.extra_bytes_per_connection")]


def slope_table(rows):
    table = [["backend", "users", "verdict", "server B/user", "generator B/user", "kernel B/end", "of it beyond the socket"]]
    for group in groups(rows):
        for row in group:
            table.append([row.backend(), number(row.users()), row.verdict(), *memory(row)])
        few, many = group[0], group[-1]

        def slope(path):
            counts = [row.of("connections.established") for row in (few, many)]
            each = [row.of(path) for row in (few, many)]
            if None in counts + each or counts[0] == counts[1]:
                return None
            return (each[1] * counts[1] - each[0] * counts[0]) / (counts[1] - counts[0])

        table.append([many.backend(), "slope", ""] + [f"**{number(slope(path))}**" for path in (
            "server.user_bytes_per_connection", "generator.user_bytes_per_user",
            "kernel.bytes_per_connection", "kernel.extra_bytes_per_connection")])
    return table


def pairs_table(rows):
    table = [["backend", "users", "verdict", "messages sent / delivered", "lost", "p50", "p99", "p99.9",
              "server CPU per message", "ratio", "CPU per message, both sides"]]
    for group in groups(rows):
        least = group[0].server_us_per_message()
        for row in group:
            us = row.server_us_per_message()
            latency = [micros(row.of(f"latency_us.planned_to_delivered.{p}")) for p in ("p50", "p99", "p999")]
            table.append([
                row.backend(), number(row.users()), row.verdict(), both(row.summary, "messages.sent", "messages.delivered"),
                number(row.of("messages.lost")), *latency, micros(us), number(divided(us, least), 2),
                micros(row.of("machine.cpu_us_per_message"))])
    return table


def storms_table(rows):
    table = [["backend", "storm", "reconnect", "verdict", "users", "back", "last back after", "connect p99", "login p99",
              "attempts", "ListenOverflows", "ListenDrops", "SYNs repeated", "segments repeated"]]
    for row in rows:
        after = row.of("storm.last_back_after_s")
        counters = row.of("kernel.counters") or {}
        table.append([
            row.backend(), row.of("storm.kind") or "-", row.of("storm.reconnect") or "-", row.verdict(),
            number(row.of("storm.users")), number(row.of("storm.back")), "-" if after is None else f"{after:.2f} s",
            micros(row.of("storm.connect_us.p99")), micros(row.of("storm.login_us.p99")), number(row.of("storm.attempts")),
            *(number(counters.get(name)) for name in (
                "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPSynRetrans", "TcpRetransSegs"))])
    return table


TABLES = {"1m": idle_table, "2500k": idle_table, "slope": slope_table, "pairs": pairs_table, "storms": storms_table}


def groups(rows):
    found = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found.values()


def markdown(table):
    """The first column to the left, all others to the right."""
    head, *rest = table
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rest])


def remarks(rows):
    """Why something is not a PASS, and what did not run at all."""
    for row in rows:
        what = f"`{row.command}`"
        if row.command.startswith("throng-floor"):
            if row.floor is None:
                yield f"- {what} failed: {row.said}"
        elif row.summary is None:
            yield f"- {what} left no verdict: {row.said}"
        else:
            for reason in row.of("reasons") or []:
                yield f"- {what}: {reason.get('verdict', '').upper()} {reason.get('code', '')}, {reason.get('text', '')}"
            if row.exit == "1" or any(reason.get("code") == "broke" for reason in row.of("reasons") or []):
                yield f"- {what} said: {row.said}"


def host(rows, commit, load):
    of = next((row.of for row in rows if row.of("host.kernel")), lambda path: None)
    gib = divided(of("host.memory_bytes"), 2**30)
    files = {key: value for key, value in (of("host.limits") or {}).items() if re.search("NOFILE", key)}
    facts = [
        f"{of('host.cores') or os.cpu_count()} x {of('host.cpu_model') or 'unknown'}, {number(gib, 1)} GiB, "
        f"Linux {of('host.kernel') or os.uname().release}; {of('host.network') or 'network unknown'}.",
        f"Limits: {', '.join(f'{key} {value}' for key, value in files.items()) or 'unknown'}. "
        f"Load average before the first run: {load}.",
        f"Throng {of('throng_version') or 'unknown'}, commit {commit}, {of('host.build.profile') or 'release'} build, "
        f"{of('host.build.rustc') or 'rustc unknown'}.",
    ]
    settings = of("lab.set") or of("host.lab.set") or {}
    if settings:
        facts.append("The lab: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    return "\n".join(facts)


def main():
    name, folder, commit, load = sys.argv[1:]
    folder = Path(folder)
    rows = [Row(folder, path.stem) for path in sorted(folder.glob("*.command"))]
    title, text = TITLES[name]
    print(f"# {title}\n\n{text}\n\n{markdown(TABLES[name](rows))}\n")
    said = list(remarks(rows))
    if said:
        print("## Remarks\n\n" + "\n".join(said) + "\n")
    print(f"## Host\n\n{host(rows, commit, load)}\n")
    print("## Commands\n\nOne run each, in this order.\n\n```\n" + "\n".join(row.command for row in rows) + "\n```")


if __name__ == "__main__":
    main()
