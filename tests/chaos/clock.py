"""A process whose wall clock is off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


class NoFakeClockError(Exception):
    """A process's clock can't be set off on this machine."""


def set_clock_off(seconds: int) -> Mapping[str, str]:
    """The variables with which a process's wall clock is off by so many seconds; its other clocks stay right.

    Raises:
        NoFakeClockError: libfaketime can't be used here.
    """
    try:
        import libfaketime
    except (ImportError, RuntimeError) as error:
        raise NoFakeClockError(f"libfaketime is needed to set a clock off: {error}") from error
    library = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",  # what it leaves there, a killed process would leave for good
    }
    off_seconds = _read_clock(variables) - time.time()
    if abs(off_seconds - seconds) > 30:
        raise NoFakeClockError(
            f"libfaketime set a clock off by {off_seconds:.0f} s where {seconds} s were meant: its library is for "
            "Linux on x86-64; `pip install --no-binary :all: libfaketime` builds one for this machine"
        )
    return variables


def _read_clock(variables: Mapping[str, str]) -> float:
    command = [sys.executable, "-I", "-c", "import time; print(time.time())"]
    return float(subprocess.run(command, env={**os.environ, **variables}, capture_output=True, check=True).stdout)
