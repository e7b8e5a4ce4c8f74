"""How a test with many parameters keeps a quick one of them in `make test`."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Mark parameters of a test as slow: `make test` runs the test with its other parameters only."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
