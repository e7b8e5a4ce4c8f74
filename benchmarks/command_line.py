"""Measure how fast the command line starts: `python -m benchmarks.command_line`.

Each command is started several times: the best time is nearly that of an idle machine. The libraries that the client
could use instead are measured as well, for docs/adr/0025-terminal.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = str(Path(sys.executable).with_name("slimfaas-jobs"))
_CASES: dict[str, Sequence[str]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "slimfaas-jobs --help": (_PROGRAM, "--help"),
    "slimfaas-jobs run --help": (_PROGRAM, "run", "--help"),
    "slimfaas-jobs list, nobody listens": (
        _PROGRAM, "list", "--server", "http://127.0.0.1:9", "--retry-for", "0"
    ),
    "import slimfaas_jobs": (sys.executable, "-c", "import slimfaas_jobs"),
    "import urllib3": (sys.executable, "-c", "import urllib3"),
    "import requests": (sys.executable, "-c", "import requests"),
    "import httpx": (sys.executable, "-c", "import httpx"),
    "import rich.console, rich.table, rich.live": (
        sys.executable, "-c", "import rich.console, rich.table, rich.live"
    ),
}  # fmt: skip


def measure(command: Sequence[str], repeats: int) -> tuple[float, float]:
    """Return the shortest and the median time of a command, in milliseconds."""
    times = []
    with tempfile.TemporaryDirectory() as folder:  # not the source tree, which would shadow what is installed
        for _ in range(repeats + 1):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, cwd=folder, env={**os.environ, "COLUMNS": "80"}, check=False)
            times.append((time.perf_counter() - began) * 1000)
    return min(times[1:]), statistics.median(times[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, metavar="N")
    repeats = parser.parse_args().repeats
    print(f"{'':<44}  best  median  (ms, of {repeats})")
    for name, command in _CASES.items():
        best, median = measure(command, repeats)
        print(f"{name:<44} {best:>5.0f}   {median:>5.0f}")


if __name__ == "__main__":
    main()
