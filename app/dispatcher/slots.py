"""The number of free slots: how many more runs of a definition may be admitted. Pure.

Each active run holds a slot. So does each pin whose admission may still land (`Term.landing`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from app.dispatcher.intent import Pin
from app.domain.run import Phase, Run


class RunsInView(Protocol):
    """The runs that the leader knows, as far as slots are concerned."""

    def get(self, uid: str) -> Run | None:
        """The run, unless it is finished or gone."""

    def active(self, definition: str) -> int:
        """How many of its runs are neither queued nor finished."""


def live_runs(pins: Iterable[Pin], view: RunsInView) -> dict[Pin, Run]:
    """Return the pins whose runs are queued in exactly this version, with the runs. No other pin can be admitted."""
    found = {}
    for pin in pins:
        run = view.get(pin.uid)
        if run is not None and run.resource_version == pin.version and run.phase is Phase.QUEUED:
            found[pin] = run
    return found


class SlotCount:
    """The free slots of each definition at one moment.

    Args:
        view: of the cluster.
        slots: how many runs of each definition may be active; a definition that is missing has no slots.
        landing: the pins whose admission may still land.
        closed: the definitions whose runs must not be admitted now.

    Attributes:
        landing_runs: the runs of those of these pins that are live (`live_runs`).
    """

    def __init__(
        self, view: RunsInView, slots: Mapping[str, int], landing: Iterable[Pin], closed: Collection[str]
    ) -> None:
        self.landing_runs = live_runs(landing, view)
        self._view = view
        self._slots = slots
        self._closed = closed
        self._held = Counter(run.definition for run in self.landing_runs.values())

    def free(self, definition: str) -> int:
        """Return how many more runs may be admitted.

        Negative: more slots may be in use than there are, or the definition is closed.
        """
        if definition in self._closed:
            return -1
        return self._slots.get(definition, 0) - self._view.active(definition) - self._held[definition]
