"""Exponential backoff: the delay between retries of pods and containers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackOff:
    """A delay of `base_seconds` after the first failure, doubled after each further one, up to the cap."""

    base_seconds: float
    cap_seconds: float

    def period_seconds(self, failures: int) -> float:
        """Return the delay after `failures` failures in a row; at least 1."""
        return min(self.base_seconds * 2.0 ** min(failures - 1, 32), self.cap_seconds)
