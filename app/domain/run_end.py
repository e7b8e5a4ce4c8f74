"""How a run ended."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["succeeded", "failed", "cancelled"]
"""Cancelled: its Job was deleted before the run had ended, by a caller or by hand."""

PENDING_TIMEOUT = "PendingTimeout"
"""The reason of a run that missed its start deadline. To Kubernetes this is any deadline that is exceeded."""

QUEUE_TIMEOUT = "QueueTimeout"
"""The reason of a run that was queued for too long."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run, as its Job tells it.

    Attributes:
        outcome: see `Outcome`.
        reason: that of the Job's terminal condition, or one of ours; empty for a run that succeeded or was cancelled.
        started_at: when its Job started, microseconds since the epoch; `None`: never.
        ended_at: the same of its end; `None`: the Job does not say it.
        failed_pods: how many of its pods have failed.
        started_by: the user who started it; empty: unknown.
        undelivered: whether somebody is still to be told of it.
    """

    outcome: Outcome
    reason: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    failed_pods: int = 0
    started_by: str = ""
    undelivered: bool = False

    @property
    def retries(self) -> int:
        """How often Kubernetes made another pod. The last failure of a failed run is not followed by one."""
        return max(0, self.failed_pods - (self.outcome == "failed"))

    @property
    def seconds(self) -> float | None:
        """How long it ran; `None`: unknown. Kubernetes cuts both times to whole seconds."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0, self.ended_at - self.started_at) / 1_000_000
