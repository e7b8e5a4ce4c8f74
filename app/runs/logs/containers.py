"""The attempts of a run as far as logs are concerned: each start of one of its containers, in any of its pods."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempt import Attempt

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Container:
    """One attempt: a pod's container between two starts.

    Attributes:
        pod: the pod, as it was read when the attempt was chosen.
        restart: how often the container had been restarted when the attempt began, from 0 on.
    """

    pod: Attempt
    restart: int

    def is_last(self) -> bool:
        """Return whether the container has not been restarted since."""
        return self.restart == self.pod.restarts

    def is_over(self) -> bool:
        """Return whether the attempt has ended, so that its log is complete."""
        stopped = self.pod.ending is not None and not self.pod.running
        return not self.is_last() or stopped or self.pod.phase in _ENDED

    def has_begun(self) -> bool:
        """Return whether the container has started in this attempt."""
        return not self.is_last() or self.pod.running or self.pod.ending is not None

    def is_kept(self) -> bool:
        """Return whether the kubelet still has the log. It keeps those of the last attempt that ran and the one before.

        While a pod waits to restart its container, the kubelet takes the attempt that ended last for both.
        """
        one_before = self.restart == self.pod.restarts - 1 and (self.pod.running or self.pod.phase in _ENDED)
        return self.is_last() or one_before


def containers_of(attempts: Sequence[Attempt]) -> list[Container]:
    """Return every attempt of a run, in order.

    Args:
        attempts: the run's pods, in order.
    """
    return [Container(pod, restart) for pod in attempts for restart in range(pod.restarts + 1)]


def containers_after(container: Container, containers: Sequence[Container]) -> list[Container]:
    """Return the attempts that followed one. If its pod is gone: those of pods that were created later."""
    indexes = [index for index, one in enumerate(containers) if one.pod.pod == container.pod.pod]
    if indexes:
        return list(containers[indexes[0] + container.restart + 1 :])
    return [one for one in containers if one.pod.created_at >= container.pod.created_at]


def is_over(container: Container, containers: Sequence[Container]) -> bool:
    """Return whether an attempt has ended, by the present state of its pod. If the pod is gone, it has."""
    now = [one for one in containers if (one.pod.pod, one.restart) == (container.pod.pod, container.restart)]
    return all(one.is_over() for one in now)
