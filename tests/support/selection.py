"""Choose which of a test's parameters run in `make test`."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Mark parameters of a test as slow: `make test` runs the test with its other parameters only.

    Args:
        *values: of a test with one parameter its values; of a test with several, a tuple of values each.
    """
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*row, marks=pytest.mark.slow) for row in rows]
