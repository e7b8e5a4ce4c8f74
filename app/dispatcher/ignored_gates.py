"""Runs that Kueue has started before they were admitted: it ignores the gate. Decides nothing.

An admission removes the gate: `app/kube/manifests.py` (`build_admission`).
"""

import logging
from collections.abc import Callable

from app.domain.run import Run
from app.telemetry import metrics

log = logging.getLogger(__name__)

_REMIND_SECONDS = 60.0
"""How often it is logged while it goes on."""


class IgnoredGates:
    """Counts these runs and logs them. Their dependencies were not looked at, and there may be more than slots.

    Args:
        clock: seconds that never go back.

    Attributes:
        count: how many were seen.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.count = 0
        self._clock = clock
        self._logged_at = float("-inf")

    def observe(self, before: Run | None, after: Run | None) -> None:
        """Take note of a change of a run."""
        if after is None or not after.kueue.gate_ignored or (before is not None and before.kueue.gate_ignored):
            return
        self.count += 1
        metrics.IGNORED_GATES.inc()
        if self._clock() - self._logged_at >= _REMIND_SECONDS:
            self._logged_at = self._clock()
            log.error(
                "Kueue has started run %s before it was admitted, beside slots and dependencies: Kueue is older than "
                "0.19, or its feature AdmissionGatedBy is off (%d runs so far)",
                after.name,
                self.count,
            )
