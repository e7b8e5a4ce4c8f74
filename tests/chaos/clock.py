"""Shift the wall clock of a process with libfaketime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


class NoFakeClockError(Exception):
    """A process's clock cannot be shifted on this machine."""


def shift_clock(seconds: int) -> Mapping[str, str]:
    """Return the environment variables that shift a process's wall clock by `seconds`; its other clocks stay right.

    Raises:
        NoFakeClockError: libfaketime does not work here.
    """
    try:
        import libfaketime
    except (ImportError, RuntimeError) as error:
        raise NoFakeClockError(f"libfaketime is needed to shift a clock, and cannot be imported: {error}") from error
    library = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",  # a killed process would never remove its shared memory
    }
    off_seconds = _read_clock(variables) - time.time()
    if abs(off_seconds - seconds) > 30:
        raise NoFakeClockError(
            f"libfaketime shifted a clock by {off_seconds:.0f} s instead of {seconds} s: its prebuilt library is for "
            "Linux on x86-64; `pip install --no-binary :all: libfaketime` builds one for this machine"
        )
    return variables


def _read_clock(variables: Mapping[str, str]) -> float:
    command = [sys.executable, "-I", "-c", "import time; print(time.time())"]
    return float(subprocess.run(command, env={**os.environ, **variables}, capture_output=True, check=True).stdout)
