"""Run many jobs under injected faults, and count broken promises; the exit code is 1 if there were any.

The seed decides which requests and faults happen at which times. How they interleave depends on the machine.
"""

import argparse
import secrets
import signal
import sys
from pathlib import Path

from tests.chaos.clock import NoFakeClockError
from tests.chaos.run import run_chaos
from tests.chaos.schedule import FULL, SHORT, make_schedule
from tests.controlplane.build import ControlPlaneUnavailable
from tests.support.proxies import keep_loopback_direct


def main() -> int:
    """Run the suite, print its table, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_loopback_direct()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; by default drawn and printed")
    parser.add_argument("--short", action="store_true", help="the short form, which takes two and a half minutes")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"), help="the folder for logs and report.json")
    parsed = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if parsed.seed is None else parsed.seed
    size = SHORT if parsed.short else FULL
    folder: Path = parsed.folder / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
    print(f"seed {seed}: {size.runs} runs; logs and report.json in {folder}", flush=True)
    try:
        report = run_chaos(make_schedule(seed, size), folder.resolve(), tell=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        return 130
    except (ControlPlaneUnavailable, NoFakeClockError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.table())
    return 1 if report.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
