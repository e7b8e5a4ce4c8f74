"""Which runs to admit now, and why the others wait: pure decisions over what is known."""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from operator import itemgetter

from app.domain.readiness import Unready
from app.domain.run import DependsOn, Run, queue_key


@dataclass(frozen=True, slots=True)
class Line:
    """The runs of one definition that are not finished.

    Attributes:
        queued: the queued runs by what they depend on, each group in the order of its places. A group is ready or not
            as a whole, so that a plan costs what it admits, however many wait.
        admitted: how many others hold a slot.
    """

    queued: Mapping[DependsOn, Sequence[Run]]
    admitted: int


_SUSPECTS_PER_DEFINITION = 64
"""Bounds what a new leader writes before it admits; runs that wait for one thing each would else all be suspects."""


def plan(
    lines: Mapping[str, Line],
    slots: Mapping[str, int],
    unready: Unready,
    *,
    in_doubt: Mapping[str, str],
    refused: Collection[str] = (),
    again: Iterable[tuple[int, Run]] = (),
    untried_first: Callable[[str], bool] = lambda _definition: False,
) -> list[Run]:
    """Choose the runs to admit.

    Args:
        lines: by definition.
        slots: how many runs of each definition may be active; a definition that isn't there has none.
        unready: tells what runs wait for.
        in_doubt: queued runs whose admission was sent and not answered, as uid and definition. Each holds a slot, for
            it may be running before anyone can see it, and none is chosen: its doubt has to be settled first.
        refused: uids of queued runs that were refused, and have lost their places.
        again: those of them that are to be tried again, each with the moment (microseconds since the epoch) from which
            it stands in the queue anew: behind all that wait by then, who may be refused for nothing, and before all
            that come later.
        untried_first: whether those of a definition that were not refused yet go before all that were.

    Returns:
        The runs, each definition's in the order of its queue.
    """
    chosen: list[Run] = []
    doubtful = Counter(in_doubt.values())
    queued_anew: dict[str, list[tuple[tuple[int, str], Run]]] = {}
    for moment, run in again:
        if run.uid not in in_doubt:
            queued_anew.setdefault(run.definition, []).append(((moment, run.name), run))
    for definition, line in lines.items():
        # 1. How many slots are certainly free.
        free = slots.get(definition, 0) - line.admitted - doubtful[definition]
        if free <= 0:
            continue
        # 2. Who could start; the others keep their places and block nobody.
        ready = [runs for depends_on, runs in line.queued.items() if not unready(depends_on)]
        able = (run for run in merge(*ready, key=queue_key) if run.uid not in in_doubt and run.uid not in refused)
        anew = [pair for pair in queued_anew.get(definition, ()) if not unready(pair[1].depends_on)]
        # 3. First come, first served.
        queues = ((queue_key(run), run) for run in able), sorted(anew, key=itemgetter(0))
        queue = chain(*queues) if untried_first(definition) else merge(*queues, key=itemgetter(0))
        chosen += (run for _, run in islice(queue, free))
    return chosen


def suspects(lines: Mapping[str, Line], slots: Mapping[str, int], known_until: int) -> list[Run]:
    """The runs of which a dispatcher that fell silent may have been admitting one.

    It chose among the first of each group, as many as there were slots free: no more than are free now. Those that it
    took for the first may have others before them by now that were stored later, with earlier places. (Of one and
    the same second, those whose place is from before it count as stored last.)

    Args:
        lines: by definition.
        slots: see `plan`.
        known_until: what was stored before this moment it certainly knew (microseconds since the epoch, as
            `Run.created_at`).
    """
    found: list[Run] = []
    for definition, line in lines.items():
        free = slots.get(definition, 0) - line.admitted
        if free <= 0:
            continue
        first = merge(*(runs[:free] for runs in line.queued.values()), key=queue_key)
        once = merge(*(_once_first(runs, free, known_until) for runs in line.queued.values()), key=queue_key)
        found += islice(chain(first, once), _SUSPECTS_PER_DEFINITION)
    return found


def _once_first(runs: Iterable[Run], count: int, known_until: int) -> Iterator[Run]:
    """The runs of a group that are not among so many first ones, but were before others came.

    Who knew a run knew all that was stored before it: a watch has an order.
    """
    passed: list[int] = []  # when those were stored that it may not have known, sorted
    for index, run in enumerate(runs):
        unknown = len(passed) - bisect_right(passed, run.created_at)
        if index - unknown < count <= index:
            yield run
        if run.created_at >= known_until:
            insort(passed, run.created_at + (run.queued_at < run.created_at))
