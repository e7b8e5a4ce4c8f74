"""Choose which of a test's parameters run in `make test`."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Mark parameters of a test as slow: `make test` runs the test with its other parameters only."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
