"""A clock that tests control."""


class Clock:
    """A clock that a test sets.

    Attributes:
        now: the current reading in seconds.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the current reading."""
        return self.now
