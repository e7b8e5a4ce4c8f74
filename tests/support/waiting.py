"""How long a test waits for what has to happen.

A wait ends with its event, so a long limit costs nothing where all is well.
"""

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 120.0
"""The limit of every wait: enough on a machine that has four times as much to do as it can do."""


def until(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS, pause_seconds: float = 0.01) -> Any:
    """Wait for a condition, and return what it returned; the test fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not come about within {seconds} s; last seen: {found!r}"
        time.sleep(pause_seconds)
    return found
