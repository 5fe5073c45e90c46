#!/usr/bin/env python3
"""Turns the runs of scripts/density.sh into a record: density.py NAME FOLDER RECORD.

FOLDER holds facts (*.fact) and, for each row, what was run (*.command, *.group) and what came of it: a run folder (*.run), or
the raw connect loop's line (*.floor). Writes RECORD.md, and what it is made of to RECORD/<NN>-<what>.json. What a summary does
not have is shown as `-`, and no target is met by it. Ends with 3 if a target was missed.
"""

import json
import os
import re
import sys
from pathlib import Path
from statistics import median

MISSED = 3

# The targets, in bytes per connection: user memory of each side, and kernel memory of each end that is not of its socket.
USER_BYTES_MAX = 128
KERNEL_BYTES_MAX = 304
# A log-in against a raw connect: of the rate, at least.
FLOOR_SHARE_MIN = 0.6
# What a message may cost the server among the most users, of what it costs among the fewest.
CPU_RATIO_MAX = 1.5

TITLES = {
    "1m": ("A million idle users", "Held for the window with heartbeats; then every user sends one message and receives one. "
           "The connect rate is of the whole ramp, from the first planned instant until the last user is logged in; more is asked "
           "for than the machine can. The raw loop accepts, connects and keeps, with blocking calls and nothing else, as many "
           "connections, just before each run."),
    "2500k": ("Two and a half million idle users", "Held for the window with heartbeats; then every user sends one message and "
              "receives one. Both ends are real sockets of one machine."),
    "5m": ("Five million users in user space", "The server's ends alone are sockets; the users' TCP is the generator's, over a TUN "
           "device. Held for the window with heartbeats; then every user sends one message and receives one. The connect rate is of "
           "the whole ramp, from the first planned instant until the last user is logged in; more is asked for than the machine can. "
           "The raw loop sends SYN and ACK over the same kind of device, without state or a login, for as many connections, just "
           "before."),
    "engines": ("Users with sockets and users in user space", "The same loads by both engines. Latency is planned to delivered. "
                "In a closed loop the rate is what came of eight messages in flight per pair. The slope is the difference between "
                "the two idle runs of an engine, divided by the difference in users. A socket's kernel memory is counted for each "
                "end that is one."),
    "slope": ("What one more idle user costs", "The slope is the difference between the two runs of a backend, divided by the "
              "difference in users: what is there once costs nothing in it."),
    "pairs": ("The same rate among a million users and among 10,000", "Open loop. Latency is planned to delivered. The ratio is "
              "the server's CPU per message against the fewest users of the same backend. Heartbeats are those due, by the "
              "seconds of the whole run, ramp included."),
    "storms": ("Storms of connections", "login-storm: everybody connects at one instant. reconnect-storm: half of the users lose "
               "their connection at one instant and come back. Times count from the planned instant of a user's first attempt; "
               "connect lag is the part of them that is the generator's own."),
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


def total(rows, path):
    """The sum over rows; None where one has nothing."""
    each = [row.of(path) for row in rows]
    return None if None in each else sum(each)


def largest(rows, path):
    """The largest of all rows; None where one has nothing."""
    each = [row.of(path) for row in rows]
    return None if None in each else max(each)


class Row:
    """One run, or one raw connect loop."""

    def __init__(self, folder, name):
        self.number = int(name)
        self.command = read(folder / f"{name}.command")
        self.group = read(folder / f"{name}.group")
        self.is_floor = self.command.startswith("throng-floor")
        self.run = folder / f"{name}.run"
        self.evidence = folder / f"{name}.floor" if self.is_floor else self.run / "summary.json"
        found = read(self.evidence)
        self.floor = json.loads(found) if found and self.is_floor else None
        self.summary = json.loads(found) if found and not self.is_floor else None
        self.exit = read(folder / f"{name}.exit")
        said = (read(folder / f"{name}.stderr") or "").replace(f"{folder}/", "").splitlines()
        # A headline and its particulars.
        self.said = " ".join(said[:1] + ["; ".join(line.strip() for line in said[1:])]).strip()

    def what(self):
        """A name for a file: as floor-1m, idle-1m-io-uring, reconnect-storm-200k-at-once-epoll."""
        words = ["floor"] if self.is_floor else [self.command.split()[2]]
        for option in ("-c", "--reconnect", "--engine", "--backend"):
            words += re.findall(rf" {option} (\S+)", self.command)
        return "-".join(words)

    def seconds(self):
        """How long the whole run took, by its time series."""
        series = read(self.run / "timeseries.csv")
        last = series.splitlines()[-1].split(",")[0] if series else ""
        return float(last) if re.fullmatch(r"[0-9.]+", last) else None

    def of(self, path):
        return at(self.summary, path)

    def backend(self):
        return self.of("server.backend.active") or self.asked()

    def asked(self):
        """The backend that was asked for: there is one also where nothing ran."""
        return re.search(r"--backend (\S+)", self.command).group(1)

    def engine(self):
        """The engine that was asked for."""
        return re.search(r"--engine (\S+)", self.command).group(1)

    def verdict(self):
        return (self.of("verdict") or f"none, exit {self.exit}").upper()

    def users(self):
        return self.of("plan.connections") or self.of("connections.target")

    def server_us_per_message(self):
        return divided(1e6, self.of("server.messages_per_cpu_s"))


MEMORY = ["server B/user", "generator B/user", "kernel B/end", "of it beyond the socket"]
MEMORY_PATHS = ["server.user_bytes_per_connection", "generator.user_bytes_per_user",
                "kernel.bytes_per_connection", "kernel.extra_bytes_per_connection"]


def memory(row):
    return [number(row.of(path), 1) for path in MEMORY_PATHS]


def million_table(rows):
    """What an idle table says, and how fast it connected: each run against the raw loop just before it."""
    table = idle_table(rows)
    table[0] += ["round", "connect rate, logged in", "raw loop", "of the raw loop"]
    for cells, (row, floor) in zip(table[1:], after_floors(rows)):
        connects = row.of("connections.connect_rate_per_s")
        cells += [row.group, rate(connects), rate(floor), number(divided(connects, floor), 2)]
    return table


def after_floors(rows):
    """Each run, and the rate of the raw loop just before it; None without one."""
    floor = None
    for row in rows:
        if row.is_floor:
            floor = at(row.floor, "rate_per_s")
        else:
            yield row, floor
            floor = None


def idle_table(rows):
    table = [["backend", "verdict", "established", "failed", "lost connections", "heartbeats due / answered",
              "messages sent / delivered", "lost", *MEMORY]]
    for row in runs(rows):
        table.append([
            row.backend(), row.verdict(), number(row.of("connections.established")), number(row.of("connections.failed")),
            number(row.of("connections.lost")), both(row.summary, "heartbeats.due", "heartbeats.answered"),
            both(row.summary, "messages.sent", "messages.delivered"), number(row.of("messages.lost")), *memory(row)])
    return table


def slope_table(rows):
    table = [["backend", "users", "verdict", *MEMORY]]
    for group in groups(rows):
        for row in group:
            table.append([row.backend(), number(row.users()), row.verdict(), *memory(row)])
        table.append([group[-1].backend(), "slope", ""] + [f"**{number(slope(group, path), 1)}**" for path in MEMORY_PATHS])
    return table


def slope(group, path):
    """Bytes that one more connection costs, from what all of them cost in the first and in the last run."""
    runs = (group[0], group[-1])
    counts = [row.of("memory.connections") for row in runs]
    each = [row.of(path) for row in runs]
    if None in counts + each or counts[0] == counts[1]:
        return None
    return (each[1] * counts[1] - each[0] * counts[0]) / (counts[1] - counts[0])


def pairs_table(rows):
    table = [["backend", "users", "verdict", "messages sent / delivered", "lost", "heartbeats due", "p50", "p99", "p99.9",
              "server CPU per message", "ratio", "CPU per message, both sides"]]
    for group in groups(rows):
        for row in group:
            latency = [micros(row.of(f"latency_us.planned_to_delivered.{p}")) for p in ("p50", "p99", "p999")]
            due, seconds = row.of("heartbeats.due"), row.seconds()
            us = row.server_us_per_message()
            table.append([
                row.backend(), number(row.users()), row.verdict(), both(row.summary, "messages.sent", "messages.delivered"),
                number(row.of("messages.lost")), rate(divided(due, seconds)) if seconds else f"{number(due)} in all", *latency,
                micros(us), number(divided(us, group[0].server_us_per_message()), 2),
                micros(row.of("machine.cpu_us_per_message"))])
    return table


def engines_table(rows):
    table = [["engine", "load", "verdict", "messages/s", "lost", "p50", "p99", "p99.9", "server messages per CPU-s",
              "CPU per message, both sides", *MEMORY]]
    for row in runs(rows):
        load = re.search(r"run (\S+) (.*?) -d", row.command)
        latency = [micros(row.of(f"latency_us.planned_to_delivered.{p}")) for p in ("p50", "p99", "p999")]
        table.append([
            row.engine(), f"{load.group(1)} {load.group(2)}", row.verdict(), number(row.of("messages.rate_per_s")),
            number(row.of("messages.lost")), *latency, number(row.of("server.messages_per_cpu_s")),
            micros(row.of("machine.cpu_us_per_message")), *memory(row)])
    for group in idle_groups(rows):
        slopes = [f"**{number(slope(group, path), 1)}**" for path in MEMORY_PATHS]
        table.append([group[-1].engine(), "slope", *[""] * (len(table[0]) - 2 - len(slopes)), *slopes])
    return table


def idle_groups(rows):
    return groups([row for row in runs(rows) if " idle " in row.command])


def storms_table(rows):
    table = [["backend", "storm", "reconnect", "verdict", "users", "back", "last back after", "connect p99", "connect lag p99",
              "login p99", "attempts", "ListenOverflows", "SYNs repeated", "segments repeated", "generator's busiest core"]]
    for row in rows:
        after, busiest = row.of("storm.last_back_after_s"), row.of("generator.busiest_core")
        counters = row.of("kernel.counters") or {}
        reconnect = re.search(r"--reconnect (\S+)", row.command)
        table.append([
            row.backend(), row.command.split()[2], reconnect.group(1) if reconnect else "", row.verdict(),
            number(row.of("storm.users")), number(row.of("storm.back")), "-" if after is None else f"{after:.2f} s",
            *(micros(row.of(f"storm.{path}_us.p99")) for path in ("connect", "connect_lag", "login")),
            number(row.of("storm.attempts")),
            *(number(counters.get(name)) for name in ("TcpExtListenOverflows", "TcpExtTCPSynRetrans", "TcpRetransSegs")),
            "-" if busiest is None else f"{100 * busiest:.0f} %"])
    return table


def passed(rows):
    count = sum(row.verdict() == "PASS" for row in rows)
    return "verdict", "PASS", f"PASS in {count} of {len(rows)}", count == len(rows)


def none_lost(rows, path, what):
    lost = total(rows, path)
    return what, "0", number(lost), lost == 0


def all_of(rows, part, whole, what):
    """Of what was to be, everything was; and there was something to be."""
    part, whole = total(rows, part), total(rows, whole)
    return what, "all", f"{number(part)} of {number(whole)}", bool(whole) and part == whole


def at_most(value, limit, what, digits=1):
    return what, f"at most {limit}", number(value, digits), value is not None and value <= limit


def bytes_targets(rows):
    yield at_most(largest(rows, "server.user_bytes_per_connection"), USER_BYTES_MAX, "server B/user")
    yield at_most(largest(rows, "generator.user_bytes_per_user"), USER_BYTES_MAX, "generator B/user")
    yield at_most(largest(rows, "kernel.extra_bytes_per_connection"), KERNEL_BYTES_MAX, "kernel B/end beyond the socket")


def million_targets(rows):
    floors = dict(after_floors(rows))
    for runs in by_backend(rows):
        shares = [divided(row.of("connections.connect_rate_per_s"), floors[row]) for row in runs]
        share = None if None in shares else median(shares)
        yield runs, [
            passed(runs),
            all_of(runs, "connections.established", "connections.target", "established"),
            none_lost(runs, "connections.lost", "lost connections"),
            all_of(runs, "heartbeats.answered", "heartbeats.due", "heartbeats answered"),
            (f"connect rate of the raw loop, median of {len(runs)}", f"at least {FLOOR_SHARE_MIN}", number(share, 2),
             share is not None and share >= FLOOR_SHARE_MIN),
            *bytes_targets(runs)]


def five_million_targets(rows):
    for runs, found in million_targets(rows):
        yield runs, [*found, all_of(runs, "messages.delivered", "messages.planned", "messages delivered"),
                     none_lost(runs, "messages.lost", "lost messages")]


def engines_targets(rows):
    for runs in groups(rows, Row.engine):
        [idle] = idle_groups(runs)
        yield runs, [
            passed(runs),
            none_lost(runs, "messages.lost", "lost messages"),
            at_most(slope(idle, "generator.user_bytes_per_user"), USER_BYTES_MAX, f"generator B/user of {runs[0].engine()}, slope")]


def most_targets(rows):
    for runs in by_backend(rows):
        yield runs, [
            passed(runs),
            all_of(runs, "messages.delivered", "messages.planned", "messages delivered"),
            none_lost(runs, "messages.lost", "lost messages"),
            *bytes_targets(runs)]


def slope_targets(rows):
    for runs in by_backend(rows):
        yield runs, [
            passed(runs),
            at_most(slope(runs, "server.user_bytes_per_connection"), USER_BYTES_MAX, "server B/user, slope"),
            at_most(slope(runs, "generator.user_bytes_per_user"), USER_BYTES_MAX, "generator B/user, slope")]


def pairs_targets(rows):
    for runs in by_backend(rows):
        ratio = divided(runs[-1].server_us_per_message(), runs[0].server_us_per_message())
        yield runs, [
            passed(runs),
            none_lost(runs, "messages.lost", "lost messages"),
            at_most(ratio, CPU_RATIO_MAX, "server CPU per message, most users to fewest", 2)]


def storms_targets(rows):
    for runs in by_backend(rows):
        yield runs, [passed(runs)]


TABLES = {"1m": million_table, "2500k": idle_table, "5m": million_table, "slope": slope_table, "pairs": pairs_table,
          "storms": storms_table, "engines": engines_table}
TARGETS = {"1m": million_targets, "2500k": most_targets, "5m": five_million_targets, "slope": slope_targets,
           "pairs": pairs_targets, "storms": storms_targets, "engines": engines_targets}


def targets(name, rows):
    """The table of targets, and whether all were met."""
    table, all_met = [["backend", "target", "wanted", "measured", "met"]], True
    for runs, found in TARGETS[name](rows):
        for what, wanted, measured, met in found:
            table.append([runs[0].backend(), what, wanted, measured, "yes" if met else "**no**"])
            all_met = all_met and met
    return table, all_met


def runs(rows):
    return [row for row in rows if not row.is_floor]


def groups(rows, key=lambda row: row.group):
    found = {}
    for row in runs(rows):
        found.setdefault(key(row), []).append(row)
    return found.values()


def by_backend(rows):
    return groups(rows, Row.asked)


def markdown(table):
    """The first column to the left, all others to the right."""
    head, *rest = table
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rest])


def remarks(rows):
    """Why something is not a PASS, what did not run at all, and what the raw loop had to do without."""
    for row in rows:
        what = f"{row.number:02}, `{row.command}`,"
        said = row.said or "nothing"
        if row.is_floor:
            if row.floor is None or row.said:
                yield f"- {what} {'failed' if row.floor is None else 'said'}: {said}"
        elif row.summary is None:
            yield f"- {what} left no verdict, exit {row.exit}: {said}"
        else:
            reasons = row.of("reasons") or []
            for reason in reasons:
                yield f"- {what} {reason.get('verdict', '').upper()} {reason.get('code', '')}: {reason.get('text', '')}"
            if row.exit == "1" or any(reason.get("code") == "broke" for reason in reasons):
                yield f"- {what} said: {said}"


def host(rows, facts_of):
    of = next((row.of for row in rows if row.of("host.kernel")), lambda path: None)
    gib = divided(of("host.memory_bytes"), 2**30)
    files = {key: value for key, value in (of("host.limits") or {}).items() if re.search("NOFILE", key)}
    facts = [
        f"{of('host.cores') or os.cpu_count()} x {of('host.cpu_model') or 'unknown'}, {number(gib, 1)} GiB, "
        f"Linux {of('host.kernel') or os.uname().release}; {of('host.network') or 'network unknown'}.",
        f"Limits: {', '.join(f'{key} {value}' for key, value in files.items()) or 'unknown'}. "
        f"Before the first run: load average {facts_of['load']}, {facts_of['free']} of memory available.",
        f"Throng {of('throng_version') or 'unknown'}, commit {facts_of['commit']}, "
        f"{of('host.build.profile') or 'release'} build, "
        f"{of('host.build.rustc') or 'rustc unknown'}.",
    ]
    settings = of("lab.set") or of("host.lab.set") or {}
    if settings:
        facts.append("The lab: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    return "\n".join(facts)


def keep_evidence(rows, folder):
    """Puts what the runs left beside the record; nothing where all were refused. The kernel's command line stays at home: it may name
    what a machine's owner does not publish."""
    for row in rows:
        if row.evidence.exists():
            left = json.loads(row.evidence.read_text())
            left.get("host", {}).pop("cmdline", None)
            folder.mkdir(exist_ok=True)
            (folder / f"{row.number:02}-{row.what()}.json").write_text(json.dumps(left, indent=2) + "\n")


def main():
    name, folder, record = sys.argv[1:]
    folder, record = Path(folder), Path(record)
    rows = [Row(folder, path.stem) for path in sorted(folder.glob("*.command"))]
    facts = {path.stem: read(path) for path in folder.glob("*.fact")}
    title, text = TITLES[name]
    if float(facts["scale"]) != 1:
        title += f": a try with {facts['scale']} of the users"
    wanted, all_met = targets(name, rows)
    said = list(remarks(rows))
    parts = [
        f"# {title}\n\n{text}\n\n{markdown(TABLES[name](rows))}",
        f"## Targets\n\n{'All were met.' if all_met else 'Not all were met.'}\n\n{markdown(wanted)}",
        *(["## Remarks\n\n" + "\n".join(said)] if said else []),
        f"## Host\n\n{host(rows, facts)}",
        "## Commands\n\nOne run each, in this order. What the first one left is `01-*.json` in "
        f"`{record.name}/`, and so on; a run that left no verdict left none.\n\n```\n" + "\n".join(row.command for row in rows) + "\n```",
    ]
    keep_evidence(rows, record)
    record.with_name(f"{record.name}.md").write_text("\n\n".join(parts) + "\n")
    return 0 if all_met else MISSED


if __name__ == "__main__":
    sys.exit(main())
