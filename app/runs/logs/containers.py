"""The attempts of a run as its log has them: each is a container of a pod, or the same after a restart."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempt import Attempt

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Container:
    """One attempt: the container of a pod, or the same after so many restarts.

    Attributes:
        pod: as it was when the attempt was chosen.
        restart: which of its restarts, from 0 on.
    """

    pod: Attempt
    restart: int

    def is_last(self) -> bool:
        """Whether the container hasn't been started again since."""
        return self.restart == self.pod.restarts

    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        stopped = self.pod.ending is not None and not self.pod.running
        return not self.is_last() or stopped or self.pod.phase in _ENDED

    def has_begun(self) -> bool:
        """Whether it has run at all."""
        return not self.is_last() or self.pod.running or self.pod.ending is not None

    def is_kept(self) -> bool:
        """Whether the kubelet gives its log: it does so for the last container that ran and the one before.

        While a pod waits to start its container again, the kubelet takes the one that ended last for both.
        """
        one_before = self.restart == self.pod.restarts - 1 and (self.pod.running or self.pod.phase in _ENDED)
        return self.is_last() or one_before


def containers_of(attempts: Sequence[Attempt]) -> list[Container]:
    """Every attempt of a run, in order.

    Args:
        attempts: its pods, in order.
    """
    return [Container(pod, restart) for pod in attempts for restart in range(pod.restarts + 1)]


def containers_after(container: Container, containers: Sequence[Container]) -> list[Container]:
    """What followed an attempt; where its pod is gone, the pods that were made later."""
    places = [place for place, one in enumerate(containers) if one.pod.pod == container.pod.pod]
    if places:
        return list(containers[places[0] + container.restart + 1 :])
    return [one for one in containers if one.pod.created_at >= container.pod.created_at]


def is_over(container: Container, containers: Sequence[Container]) -> bool:
    """Whether an attempt is over, as its pod is now; one whose pod is gone is."""
    now = [one for one in containers if (one.pod.pod, one.restart) == (container.pod.pod, container.restart)]
    return all(one.is_over() for one in now)
