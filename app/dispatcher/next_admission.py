"""Which run is admitted next: the runs of the next intent, and the next write of a free writer. Pure.

Between definitions: the definitions take turns. In an intent, the first runs of all definitions come before the second
ones. The next write is made for the definition with the fewest writes in flight. Of equal definitions, the one that was
served longest ago comes first. Within a definition: the order of its queue decides (`queues`).

Some writers are for prompt writes, the others for slow ones (`Term` defines the words). All of them are alike: they are
told apart by counting the writes in flight. A failing definition has at most one
write in flight, and only a slow writer makes it. A write that becomes slow counts for a slow writer if one is free.
Untried definitions never occupy all prompt writers, so a healthy definition finds a writer even if many new definitions
hang. If slow writes occupy prompt writers and a definition waits for one, these writes are given up
(`give_up_slow_writes`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from app.dispatcher.intent import Pin
from app.dispatcher.slots import SlotCount, live_runs
from app.dispatcher.term import Standing, Term, View
from app.dispatcher.write import PROMPT_WRITERS, SLOW_WRITERS, Purpose, Write, pin_of
from app.domain.run import Run, queue_key

BATCH = 32
"""The most runs that are in the intent and not sent yet, not counting those of failing definitions."""

REFILL = 8
"""The next batch is written at the latest when the intent has fewer of its runs than this, and lacks others."""

MOST_NAMED = 1500
"""The most pins in an intent. Kubernetes allows 256 KiB of annotations per object, and a pin takes about 60 bytes."""

Slots = Mapping[str, int]
"""How many runs of each definition may be active; a definition that is missing has no slots."""

IsResting = Callable[[str], bool]
"""Whether a definition is in its pause after a failure, so that nothing is written for it now."""


class AdmissionView(View, Protocol):
    """What the leader knows of the cluster, with the queues in their order."""

    def startable(self) -> Iterable[str]:
        """The definitions that have runs which could start if they had a slot."""

    def startable_runs(self, definition: str) -> Iterator[Run]:
        """These runs, in the order of the queue."""


class PossibleWrite(NamedTuple):
    """A write that may be made as soon as a writer is free. The smallest one is made first.

    Attributes:
        in_flight: how many writes of its definition are in flight.
        served: when its definition was last served, as a count of writes (`Term.served`).
        is_new: whether it admits a run for the first time; `False`: it settles a pin.
        queue_key: the place of its run in the queue.
        write: the write.
    """

    in_flight: int
    served: int
    is_new: bool
    queue_key: tuple[int, str]
    write: Write


# The next intent.


def choose_batch(term: Term, view: AdmissionView, slots: Slots, is_resting: IsResting) -> list[Run]:
    """Choose the unsent runs of the next intent, in the order in which definitions take turns.

    All of them are chosen anew, also those that are in the intent already: nothing was sent for them. So the first run
    of another definition can take the place of the last run of a busy one.
    """
    if not term.is_listed:
        return []
    count = _count_slots(term, view, slots)
    landing = {pin.uid for pin in count.landing_runs}
    room = _Room()
    turns = {
        definition: islice((run for run in view.startable_runs(definition) if run.uid not in landing), most)
        for definition in view.startable()
        if (most := _may_intend(definition, term, count, is_resting)) > 0
    }
    batch: list[Run] = []
    while turns:
        heads = {definition: run for definition, runs in turns.items() if (run := next(runs, None)) is not None}
        for run in sorted(heads.values(), key=lambda run: (term.served.get(run.definition, -1), queue_key(run))):
            if room.take(term.standing(run.definition)):
                batch.append(run)
        turns = {definition: turns[definition] for definition in heads if room.left(term.standing(definition)) > 0}
    return batch[: max(0, MOST_NAMED - len(term.unsettled()))]


class _Room:
    """How many more runs may be in the intent and wait for a writer, by the standing of their definitions.

    Untried definitions get at most half of the batch, so a healthy definition finds room even if many of them hang.
    """

    def __init__(self) -> None:
        self._taken: Counter[Standing] = Counter()

    def take(self, standing: Standing) -> bool:
        """Take the room of one run of a definition with this standing; return whether there was room for it."""
        if self.left(standing) <= 0:
            return False
        self._taken[standing] += 1
        return True

    def left(self, standing: Standing) -> int:
        """Return how many more runs of definitions with this standing may be added to the intent."""
        if standing is Standing.FAILING:
            return SLOW_WRITERS - self._taken[Standing.FAILING]
        left = BATCH - self._taken[Standing.HEALTHY] - self._taken[Standing.UNTRIED]
        return left if standing is Standing.HEALTHY else min(left, BATCH // 2 - self._taken[Standing.UNTRIED])


def is_urgent(term: Term, batch: Sequence[Run]) -> bool:
    """Return whether to write an intent with this batch now, instead of with a later batch.

    It is urgent if the intent has few runs of the batch, and the batch has others. It is also urgent if the intent has
    no run of a definition whose turn comes soon: after few runs of the same standing. Runs of definitions with a write
    in flight are not counted, because that write may hang.
    """
    unsent = [run for run in batch if pin_of(run) in term.unsent]
    if len(unsent) < REFILL:
        return len(unsent) < len(batch)
    in_intent = {run.definition for run in unsent}
    in_flight = {write.definition for write in term.in_flight}
    before: Counter[Standing] = Counter()
    for run in batch:
        standing = term.standing(run.definition)
        if run.definition not in in_intent and before[standing] < REFILL:
            return True
        before[standing] += run.definition not in in_flight
    return False


def _count_slots(term: Term, view: View, slots: Slots) -> SlotCount:
    return SlotCount(view, slots, term.landing(), term.to_suspect.keys())


def _may_intend(definition: str, term: Term, count: SlotCount, is_resting: IsResting) -> int:
    """Return how many runs of a definition may be in the intent and wait for a writer."""
    if is_resting(definition):
        return 0
    free = count.free(definition)
    return min(free, 1) if definition in term.failing else free


# The next write.


def choose_write(
    term: Term, view: View, slots: Slots, is_resting: IsResting, is_due: Callable[[Pin], bool]
) -> Write | None:
    """Choose the write that a free writer should make; `None`: there is nothing to write now.

    Args:
        term: the leader's term.
        view: the leader's view of the cluster.
        slots: see `Slots`.
        is_resting: see `IsResting`.
        is_due: whether it is time to settle a pin that is in doubt or suspected.
    """
    free = _count_free_writers(term)
    best: PossibleWrite | None = None
    for possible in _possible_writes(term, view, slots, is_resting, is_due):
        is_first = best is None or possible[:-1] < best[:-1]
        if is_first and free[term.standing(possible.write.definition)] > 0:
            best = possible
    return best.write if best else None


def _count_free_writers(term: Term) -> dict[Standing, int]:
    """Return how many more writes may be handed over, by their definition's standing."""
    prompt = term.in_prompt_writers()
    free = PROMPT_WRITERS - len(prompt)
    untried = sum(term.standing(write.definition) is Standing.UNTRIED for write in prompt)
    return {
        Standing.HEALTHY: free,
        Standing.UNTRIED: min(free, PROMPT_WRITERS - 1 - untried),
        Standing.FAILING: SLOW_WRITERS - len(term.slow),
    }


def give_up_slow_writes(
    term: Term, view: View, slots: Slots, is_resting: IsResting, is_due: Callable[[Pin], bool]
) -> Term:
    """Give up slow writes that occupy prompt writers: as many as there are definitions that wait for a writer.

    A write that is given up counts as a write without an answer. Its definition is then failing. So the next write of
    this definition gets a slow writer, and is not given up.
    """
    stuck = len(term.slow) - SLOW_WRITERS
    if stuck <= 0:
        return term
    waiting = {
        possible.write.definition
        for possible in _possible_writes(term, view, slots, is_resting, is_due)
        if possible.in_flight == 0 and possible.write.definition not in term.failing
    }
    in_flight = Counter(write.definition for write in term.in_flight)
    slow = [write for write in term.slow if write.definition not in term.failing and write not in term.given_up]
    slow.sort(key=lambda write: -in_flight[write.definition])
    number = min(stuck, len(waiting)) - len(term.given_up)
    return term._replace(given_up=term.given_up | frozenset(slow[: max(0, number)]))


def _possible_writes(
    term: Term, view: View, slots: Slots, is_resting: IsResting, is_due: Callable[[Pin], bool]
) -> Iterator[PossibleWrite]:
    """List the writes that may be made as soon as a writer is free."""
    if not term.is_confirmed:
        return
    in_flight = Counter(write.definition for write in term.in_flight)
    several = _may_have_several(term)
    for is_new, run, purpose in _sendable(term, view, slots, is_due):
        definition = run.definition
        most = PROMPT_WRITERS - 1 if definition in several else 1  # one prompt writer is left to others
        if in_flight[definition] < most and not is_resting(definition):
            gates_left = run.kueue.other_gates if run.local_queue else None
            write = Write(purpose, pin_of(run), definition, run.name, term.number, gates_left)
            yield PossibleWrite(in_flight[definition], term.served.get(definition, -1), is_new, queue_key(run), write)


def _may_have_several(term: Term) -> frozenset[str]:
    """Return the definitions that may have several writes in flight.

    These are the healthy ones. Those with a slow write share the slow writers, so that they take no prompt writer away
    from others. An API server that is slow for everybody then has as many writes at the same time as a prompt one.
    """
    slow = {write.definition for write in term.slow}
    of_slow_definitions = sum(write.definition in slow for write in term.in_flight)
    return term.healthy if of_slow_definitions < SLOW_WRITERS else term.healthy - slow


def _sendable(
    term: Term, view: View, slots: Slots, is_due: Callable[[Pin], bool]
) -> Iterator[tuple[bool, Run, Purpose]]:
    """List the writes for which a slot is free and dependencies are ready, and whether each admits a new run."""
    count = _count_slots(term, view, slots)
    flying = {write.pin for write in term.in_flight}
    for pin in term.in_doubt | term.suspected:
        run = count.landing_runs.get(pin)
        if run is None or pin in flying or not is_due(pin):
            continue
        has_slot = count.free(run.definition) >= 0  # `count` already includes the slot of this run
        if pin in term.conflicted:
            yield False, run, Purpose.READ
        elif has_slot and pin not in term.suspected and pin not in term.fence_only and view.may_start(run):
            yield False, run, Purpose.ADMIT
        else:
            yield False, run, Purpose.FENCE
    for pin, run in live_runs(term.unsent, view).items():
        if count.free(run.definition) > 0 and pin not in count.landing_runs and view.may_start(run):
            yield True, run, Purpose.ADMIT
