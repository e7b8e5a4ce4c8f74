"""Compare the service's reflector and lease with the client's informer and leader election.

    python benchmarks/informers.py --kubeconfig FILE [--jobs 4000]

The API server must be on this machine. The kubeconfig must hold a token (or no credentials, where none are needed),
because the fault proxy terminates TLS. It takes less than three minutes, and creates and deletes its own namespaces.
Every figure comes from its own process. Conclusions: docs/adr/0002-raw-json.md and
docs/adr/0003-own-reflector-and-lease.md.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[1]
_OBSERVE_SECONDS = 75.0
_STEP_SECONDS = 160.0
_REPEATS = 3
"""Imports are repeated and the best time is used, because the first one may read from the disk."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: the name of the figure.
        ours: the service's figure.
        theirs: the client's figure.
        ratio: theirs divided by ours, where that is meaningful.
        remark: the figure of a third implementation, or a further observation.
    """

    what: str
    ours: str
    theirs: str
    ratio: str = ""
    remark: str = ""


class Runner:
    """Starts the measuring processes.

    Args:
        kubeconfig: the API server's kubeconfig.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = str(kubeconfig.resolve())
        self._running: set[subprocess.Popen[str]] = set()

    def run(self, module: str, *arguments: str) -> Figures:
        """Run a process, and return its figures.

        Raises:
            RuntimeError: the process failed or timed out.
        """
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--kubeconfig", self._kubeconfig]
        process = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._running.add(process)
        try:
            figures, errors = process.communicate(timeout=_STEP_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{module} {arguments[0]} did not end within {_STEP_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            self._running.discard(process)
        if process.returncode:
            raise RuntimeError(f"{module} {arguments[0]} failed:\n{errors[-2000:]}")
        read: Figures = json.loads(figures.splitlines()[-1])
        return read

    def stop(self) -> None:
        """Kill the processes that still run, as after Ctrl-C."""
        for process in list(self._running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def measure(runner: Runner, prefix: str, jobs: int) -> list[Row]:
    """Take all measurements."""
    calls_name, full = f"{prefix}-calls", f"{prefix}-full"
    watches = ["own", "informer", "bounded-informer"]
    leases = [(scenario, who) for scenario in ("hang", "create", "renewals", "stop") for who in ("own", "client")]
    names = [calls_name, full, *(f"{prefix}-{kind}" for kind in watches), *(f"{prefix}-{s}-{w}" for s, w in leases)]
    try:
        runner.run("target", "create", *names)
        imports = {
            what: _best([runner.run("informer_calls", what, "--namespace", calls_name) for _ in range(_REPEATS)])
            for what in ("import-raw", "import-models")
        }
        calls = runner.run("informer_calls", "create", "--namespace", calls_name)
        runner.run("target", "fill", full, "--jobs", str(jobs))
        caches = {
            kind: runner.run("informer_memory", kind, "--namespace", full, "--jobs", str(jobs))
            for kind in ("records", "dicts", "models")
        }
        observe = ["--observe-seconds", str(_OBSERVE_SECONDS)]
        with ThreadPoolExecutor(len(watches) + len(leases)) as at_once:
            watching = {
                kind: at_once.submit(runner.run, "informer_faults", kind, "--namespace", f"{prefix}-{kind}", *observe)
                for kind in watches
            }
            leading = {
                (scenario, who): at_once.submit(
                    runner.run, "lease_faults", scenario, who, "--namespace", f"{prefix}-{scenario}-{who}", *observe
                )
                for scenario, who in leases
            }
        faults = {kind: future.result() for kind, future in watching.items()}
        elections: dict[str, Figures] = {"own": {}, "client": {}}
        for (_, who), election in leading.items():
            elections[who] |= election.result()
    finally:
        runner.stop()
        runner.run("target", "delete", *names)
    return [
        *_class_rows(imports, calls),
        *_cache_rows(caches),
        *_watch_rows(faults["own"], faults["informer"], faults["bounded-informer"]),
        *_lease_rows(elections["own"], elections["client"]),
    ]


def _best(runs: list[Figures]) -> Figures:
    return {name: min(run[name] for run in runs) for name in runs[0]}


def _class_rows(imports: dict[str, Figures], calls: Figures) -> list[Row]:
    raw, models = imports["import-raw"], imports["import-models"]
    return [
        _compare("import: memory", raw["mib"], models["mib"], "MiB"),
        _compare("import: time", raw["ms"], models["ms"], "ms"),
        _compare("create a Job: time", calls["raw_wall_ms"], calls["model_wall_ms"], "ms", digits=2),
        _compare("create a Job: our CPU", calls["raw_cpu_ms"], calls["model_cpu_ms"], "ms", digits=2),
    ]


def _cache_rows(caches: dict[str, Figures]) -> list[Row]:
    units = {
        "kept_kib_per_job": ("cached Job: memory", "KiB"),
        "peak_mib": ("while listing: peak above the start", "MiB"),
        "process_mib": ("whole process, all Jobs cached", "MiB"),
        "sync_seconds": ("until the cache is filled", "s"),
        "cpu_ms_per_job": ("read a Job: our CPU", "ms"),
    }
    rows = []
    for name, (what, unit) in units.items():
        digits = 3 if unit == "ms" else 1
        ours, dicts, models = (caches[kind][name] for kind in ("records", "dicts", "models"))
        remark = f"as dicts {dicts:.{digits}f} {unit}"
        rows.append(_compare(what, ours, models, unit, digits=digits, remark=remark))
    return rows


def _watch_rows(own: Figures, informer: Figures, bounded: Figures) -> list[Row]:
    def row(what: str, name: str, unit: str = "s", digits: int = 1) -> Row:
        ours, theirs, third = (_figure(figures[name], unit, digits) for figures in (own, informer, bounded))
        return Row(what, ours, theirs, remark=f"with a read timeout: {third}")

    return [
        row("watch cut: until followed again", "cut_seconds", digits=2),
        row("watch refused (503) for 5 s: calls made", "calls_while_503", "", 0),
        row("history gone (410) after that: until right again", "expired_seconds", digits=2),
        row("nobody listens for 5 s: our CPU", "cpu_seconds_while_away", digits=2),
        row("nobody listens for 5 s: lines logged", "lines_while_away", "", 0),
        row("... until followed again", "back_seconds", digits=2),
        row("watch silent (half-open): until noticed", "silence_seconds", digits=0),
    ]


def _lease_rows(own: Figures, client: Figures) -> list[Row]:
    def row(what: str, name: str, ended: str = "") -> Row:
        cells = []
        for figures in (own, client):
            cell = _figure(figures[name], "s", 1)
            cells.append(f"{cell}, run() raised {figures[ended]}" if ended and figures[ended] else cell)
        return Row(what, *cells)

    still = "; the first one still acts" if client["acting_at_the_end"] else ""
    acts = "the callback goes on, and is told nothing" if client["outage_still_acts"] else ""
    return [
        row("holder's calls hang: taken over after", "taken_over_seconds"),
        Row(
            f"... two leaders, of {_OBSERVE_SECONDS:.0f} s",
            _figure(own["both_seconds"], "s", 1),
            _figure(client["both_seconds"], "s", 1) + still,
            remark=f"ours: nobody leads for {own['idle_between_seconds']:.1f} s, a call under way counted as leading",
        ),
        row("stopped cleanly: until another leads", "hand_over_seconds"),
        row("answer to the first create lost: until leading", "create_seconds", "create_ended"),
        row("answer to a renewal lost: next renewal", "renewal_seconds", "renewal_ended"),
        Row(*_cells(row("nobody listens for 5 s: next renewal", "outage_seconds", "outage_ended")), "", acts),
    ]


def _cells(row: Row) -> tuple[str, str, str]:
    return row.what, row.ours, row.theirs


def _compare(what: str, ours: float, theirs: float, unit: str, *, digits: int = 1, remark: str = "") -> Row:
    return Row(what, _figure(ours, unit, digits), _figure(theirs, unit, digits), f"{theirs / ours:.1f}", remark)


def _figure(value: float | None, unit: str, digits: int) -> str:
    return "never seen" if value is None else f"{value:,.{digits}f} {unit}".rstrip()


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = [("what", "ours", "the client's", "ratio", "remark")]
    table += [(row.what, row.ours, row.theirs, row.ratio, row.remark) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Measure, print the table, and clean up."""
    parser = argparse.ArgumentParser(description="Compare the service's reflector and lease with the client's.")
    parser.add_argument(
        "--kubeconfig",
        default=os.environ.get("KUBECONFIG"),
        type=Path,
        help="kubeconfig of an API server on this machine (default: KUBECONFIG)",
    )
    parser.add_argument("--jobs", type=int, default=4000, help="number of cached Jobs (default: %(default)s)")
    given = parser.parse_args()
    if given.kubeconfig is None:
        parser.error("name an API server with --kubeconfig or KUBECONFIG")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clean up, as after Ctrl-C
    began = time.monotonic()
    rows = measure(Runner(given.kubeconfig), f"bench-informers-{os.getpid()}", given.jobs)
    print(f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {given.jobs} Jobs")
    show(rows)
    print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
