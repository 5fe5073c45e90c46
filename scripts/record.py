"""What the scripts that measure share: a run of throng, and a record in Markdown."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", HOME / "target")) / "release"


def build(*packages):
    """Builds the release binaries of these packages."""
    words = [word for package in packages for word in ("-p", package)]
    subprocess.run(["cargo", "build", "--release", "--locked", *words], cwd=HOME, check=True)


def begin(title, command):
    """The head of a record."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HOME, capture_output=True, text=True).stdout.strip()
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"# {title}\n\nLinux {os.uname().release}, {cores} cores, {gib:.0f} GiB; load average before {os.getloadavg()[0]:.2f}; "
          f"commit {commit or 'unknown'}.\n\n```\n{command.strip()}\n```")
    sys.stdout.flush()


def table(title, about, head, rows):
    """A section with a table."""
    print(f"\n## {title}\n\n{about}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + " ---: |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    sys.stdout.flush()


def run(command, *flags):
    """The summary of `throng COMMAND FLAGS`, whatever its verdict."""
    with tempfile.TemporaryDirectory() as home:
        words = [PROGRAMS / "throng", command, *flags, "--no-tui", "-q", "-o", f"{home}/run"]
        ended = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ended.returncode not in (0, 98, 99):
            sys.exit(f"{' '.join(map(str, words))}: {ended.stderr}")
        summary = json.loads(Path(home, "run/summary.json").read_text())
    print(f"{' '.join(map(str, [command, *flags]))}: {summary['verdict']}", file=sys.stderr)
    return summary
