"""Run the benchmark scenarios, print a table, and write the figures as JSON."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kubernetes import client

from benchmarks.bench.cluster import FULL, QUICK, BenchCluster, folder
from benchmarks.bench.processes import find_siblings
from benchmarks.bench.report import Row, describe_machine, show, write_json
from benchmarks.bench.scenarios import SCENARIOS
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.support.proxies import keep_loopback_direct
from tests.support.servers import connect_to

_FILE = Path("build") / "bench.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all or some scenarios; return 1 if one of them failed."""
    keep_loopback_direct()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="comma-separated scenarios (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a run of some minutes")
    parser.add_argument("--json", type=Path, default=_FILE, help="the file for the figures (default: %(default)s)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.only.split(",")) - SCENARIOS.keys()):
        parser.error(f"unknown scenario: {', '.join(unknown)}; choose from {', '.join(SCENARIOS)}")
    if not os.environ.get("KUBECONFIG"):
        parser.error("KUBECONFIG must name a test cluster; `make bench` starts one")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clean up, as after Ctrl-C

    server = connect_to(os.environ["KUBECONFIG"])
    machine = describe_machine(client.VersionApi(server.admin).get_code().git_version)
    audit_log = os.environ.get(AUDIT_LOG_VARIABLE)
    # If there is an audit log, the parent process has started the control plane.
    programs = find_siblings() if audit_log else {}
    with folder() as path:
        cluster = BenchCluster(
            server,
            QUICK if given.quick else FULL,
            path,
            audit_log=Path(audit_log) if audit_log else None,
            programs=programs,
        )
        return run(cluster, given.only.split(","), given.json, machine)


def run(cluster: BenchCluster, names: Sequence[str], file: Path, machine: dict[str, object]) -> int:
    """Run these scenarios and report the figures; return 1 if one of them failed. The others run all the same."""
    rows: list[Row] = []
    failed = []
    began = time.monotonic()
    for name in names:
        since = time.monotonic()
        try:
            rows += SCENARIOS[name](cluster)
        except Exception as error:
            failed.append(f"{name} failed: {type(error).__name__}: {error}")
        print(f"{name}: {time.monotonic() - since:.0f} s", file=sys.stderr, flush=True)
    took_seconds = time.monotonic() - began
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, machine, rows, took_seconds)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(show(rows))
    print(f"took {took_seconds:.0f} s; also in {file}")
    for failure in failed:
        print(failure, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
