"""Waits that double with each failure in a row, as Kubernetes retries pods and restarts containers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackOff:
    """`base_seconds` after the first failure, doubled with each further one up to the cap."""

    base_seconds: float
    cap_seconds: float

    def period_seconds(self, failures: int) -> float:
        """Return the wait after so many failures, at least one."""
        return min(self.base_seconds * 2.0 ** min(failures - 1, 32), self.cap_seconds)
