"""Wait for a condition, with one limit for all tests.

A wait ends as soon as its condition holds, so a long limit costs nothing when the tests pass.
"""

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 120.0
"""The limit of every wait: enough on a machine that is overcommitted fourfold."""


def until(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS, pause_seconds: float = 0.01) -> Any:
    """Wait until a condition returns a true value, and return that value; fail the test after `seconds`.

    The pauses grow up to 50 ms: most conditions ask an API server, whose processor time other tests need.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s; last value: {found!r}"
        time.sleep(pause_seconds)
        pause_seconds = max(pause_seconds, min(pause_seconds * 1.5, 0.05))
    return found
