"""Which runs are fenced after an unknown predecessor, because it may have been admitting them. Pure.

A fence changes a run's version and nothing else, so a late admission of the earlier version conflicts. After an unknown
predecessor the leader *suspects* the first queued runs of each group. Each suspected run holds a slot until it is
fenced or is seen in another version. As long as a definition has more such runs than are suspected at once, none of its
runs is admitted. docs/adr/0005-intent-in-the-lease.md gives the reasons.

Runs in doubt are not handled here. `app/dispatcher/next_admission.py` chooses whether such a run is admitted or fenced.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from app.dispatcher.intent import Pin
from app.dispatcher.slots import RunsInView, live_runs
from app.dispatcher.write import pin_of
from app.domain.run import Run

SUSPECTED_PER_GROUP = 64
"""How many queued runs of each group are fenced. A group is the runs of one definition that wait for the same
dependencies. Those that a request's schedule has made are counted apart from the others of their group, because a
predecessor may have left them out. Every dispatcher admits the runs of a group in the order of the queue, so the first
ones suffice. All groups are fenced, because it is unknown which of them could start when the predecessor led."""

FENCED_AT_ONCE = 64
"""How many of these runs are suspected at a time, per definition."""

ToSuspect = Mapping[str, tuple[Pin, ...]]
"""By definition, the pins that are to be suspected later."""


class QueuedRuns(Protocol):
    """The queued runs that the leader knows."""

    def first_queued(self, most: int) -> Iterable[Run]:
        """The first queued runs of each group, at most `most` of one."""


def collect_suspects(view: QueuedRuns, known: Collection[Pin]) -> ToSuspect:
    """Return the pins of runs that an unknown predecessor may have been admitting, without those in `known`."""
    found: dict[str, list[Pin]] = {}
    for run in view.first_queued(SUSPECTED_PER_GROUP):
        if pin_of(run) not in known:
            found.setdefault(run.definition, []).append(pin_of(run))
    return {name: tuple(pins) for name, pins in found.items()}


def suspect_next(
    view: RunsInView, suspected: frozenset[Pin], to_suspect: ToSuspect
) -> tuple[frozenset[Pin], ToSuspect]:
    """Suspect the next runs of each definition that has no suspected run left."""
    busy = {run.definition for run in live_runs(suspected, view).values()}
    left, now = dict(to_suspect), set(suspected)
    for definition, pins in to_suspect.items():
        if definition in busy:
            continue
        live = tuple(live_runs(pins, view))
        now.update(live[:FENCED_AT_ONCE])
        left[definition] = live[FENCED_AT_ONCE:]
        if not left[definition]:
            del left[definition]
    return frozenset(now), left
