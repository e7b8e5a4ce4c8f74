"""One term of a leader: which patches it may send, and what holds a slot. Pure steps over values.

A patch carries a resourceVersion, so it can land only while its run is in that version (a `Pin`). The rules:

1. The leader takes the Lease first and lists the runs afterwards. Then it writes the Lease once more before it sends
   anything.
2. Before an admission is sent, its pin stands in the Lease, written with the Lease's own resourceVersion.
3. What was sent and not answered, and what the predecessor's intent named, is *possibly admitted*. It holds its slot
   and stays in every later intent until the run is seen in another version.
4. Such a pin is settled by the same admission, of which only one can land, or by a fence: a change of the run that
   makes the admission conflict.
5. A predecessor that left no intent to rely on is *unknown*. The runs that it may have been admitting are fenced, and
   nothing of their definition is admitted before.
6. A patch carries exactly the version that stands in the Lease.
7. A write is handed to a writer only while its definition has a slot for it and its dependencies are ready.

The next holder of the Lease reads the pins of everything that may still land, so none of this needs a clock.
docs/adr/0005-intent-in-the-lease.md goes through the failures one by one.

Which pins each method takes together:

| method | in flight | possibly admitted | suspected | intended | chosen | what for |
| --- | --- | --- | --- | --- | --- | --- |
| `sent` | yes | | | | | admissions without an answer yet |
| `unsettled` | yes | yes | | | | named in the Lease when it is given back |
| `landing` | yes | yes | yes | | | each holds a slot |
| `named` | yes | yes | | yes | yes | named in the Lease when it is renewed |

Suspected pins are not named: `complete` is false instead.

A definition is *failing* after a write that failed or had no answer, and *healthy* after a success. It *rests* while
the pause after a failure lasts. A write is *slow* when it takes long, or was made for a failing definition.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import NamedTuple, Protocol

from app.dispatcher.intent import Intent, Pin
from app.domain.run import Phase, Run, queue_key

WRITERS = 4
"""Writes at the same time, not counting slow ones."""

SLOW_WRITERS = 4
"""Slow writes at the same time, in addition to the others: a failing definition takes no writer away from healthy ones.
As many runs of failing definitions may stand in the Lease and wait for one of these writers."""

BATCH = 32
"""The most runs that stand in the Lease and are not sent yet, not counting those of failing definitions."""

REFILL = 8
"""With fewer than that, the next batch is written."""

MOST_NAMED = 1500
"""The most pins in an intent. An object's annotations may have 256 KiB, and a pin takes some 60 bytes."""

SUSPECTED_PER_GROUP = 64
"""How many of the queued runs of a definition that wait for the same are fenced after an unknown predecessor. Each
dispatcher admits such runs in the order of the queue. Which of the groups could start then, nobody knows now."""

FENCED_AT_ONCE = 64
"""How many of these runs are suspected at a time, per definition."""


class Purpose(Enum):
    """What a call about a run is for."""

    ADMIT = "admit"
    """Start the run: `suspend: false`."""
    FENCE = "fence"
    """Change the run's version and nothing else."""
    READ = "read"
    """Read the run: a write conflicted, and the watch has not shown why."""


class Write(NamedTuple):
    """A call to be made for a run.

    Attributes:
        purpose: what it is for.
        pin: the run, in the version that the call carries.
        definition: the run's.
        name: the run's.
        term: the number of the term in which it was chosen.
    """

    purpose: Purpose
    pin: Pin
    definition: str
    name: str
    term: int


class RunView(Protocol):
    """What the leader knows of the cluster, listed after it took the Lease."""

    def get(self, uid: str) -> Run | None:
        """The run, unless it is finished or gone."""

    def active(self, definition: str) -> int:
        """How many of its runs are neither queued nor finished."""

    def startable(self) -> Iterable[str]:
        """The definitions that have runs which could start if they had a slot."""

    def startable_runs(self, definition: str) -> Iterator[Run]:
        """These runs, in the order of the queue."""

    def may_start(self, run: Run) -> bool:
        """Whether a queued run's dependencies are ready and nothing else holds it."""

    def first_queued(self, most: int) -> Iterable[Run]:
        """The first so many queued runs of each definition that wait for the same, whatever that is."""


_NOTHING: frozenset[Pin] = frozenset()


class Term(NamedTuple):
    """What a leader has under way. Every method that changes something returns the changed term.

    Attributes:
        number: unlike that of any other term of this process.
        is_listed: whether the view has been filled in this term; before that nothing is chosen.
        is_confirmed: whether the Lease was written after that; before that nothing is sent. Should etcd be restored to
            an older state between the take-over and the list, this write conflicts.
        intended: stand in the Lease, written by this leader, and are not sent.
        in_flight: handed to a writer and not answered.
        slow: those in flight that take long, or whose definition was failing when they were handed over.
        possibly_admitted: an admission of this pin may land: see rule 3.
        fence_only: those of the possibly admitted whose admission was refused since; only a fence can settle them.
        conflicted: those of the possibly admitted whose last write conflicted; the watch should show the run in another
            version soon, otherwise the run is read.
        suspected: may be under way from an unknown predecessor, and are fenced.
        unfenced: by definition, the pins that are suspected after these. Until there are none left, nothing of the
            definition is admitted.
        predecessor_known: `False` until the suspected runs are known.
        failing: definitions whose last write failed or had no answer.
        healthy: definitions whose last write succeeded. One that is neither has not been tried in this term.
        served: when each definition last had a write handed to a writer, by a count of writes.
        writes: that count.
    """

    number: int = 0
    is_listed: bool = False
    is_confirmed: bool = False
    intended: frozenset[Pin] = _NOTHING
    in_flight: frozenset[Write] = frozenset()
    slow: frozenset[Write] = frozenset()
    possibly_admitted: frozenset[Pin] = _NOTHING
    fence_only: frozenset[Pin] = _NOTHING
    conflicted: frozenset[Pin] = _NOTHING
    suspected: frozenset[Pin] = _NOTHING
    unfenced: Mapping[str, tuple[Pin, ...]] = {}
    predecessor_known: bool = True
    failing: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    served: Mapping[str, int] = {}
    writes: int = 0

    # The term begins.

    @classmethod
    def begin(cls, intent: Intent) -> "Term":
        """Begin a term with the intent by which the Lease was taken: all that earlier leaders may have under way."""
        return cls(number=intent.sequence, possibly_admitted=intent.pins, predecessor_known=intent.complete)

    def listed(self, view: RunView) -> "Term":
        """Take in the first complete view of this term."""
        unfenced: dict[str, list[Pin]] = {}
        if not self.predecessor_known:
            for run in view.first_queued(SUSPECTED_PER_GROUP):
                if _pin(run) not in self.possibly_admitted:
                    unfenced.setdefault(run.definition, []).append(_pin(run))
        return self._replace(
            is_listed=True, unfenced={name: tuple(pins) for name, pins in unfenced.items()}, predecessor_known=True
        ).prune(view)

    # What is under way, and what holds a slot.

    def prune(self, view: RunView) -> "Term":
        """Forget the pins of runs that are in another version, or not queued any more: no patch for them can land."""
        if not (self.intended or self.possibly_admitted or self.suspected or self.unfenced):
            return self
        possibly = frozenset(_live(self.possibly_admitted, view))
        return self._replace(
            intended=frozenset(pin for pin, run in _live(self.intended, view).items() if view.may_start(run)),
            possibly_admitted=possibly,
            fence_only=self.fence_only & possibly,
            conflicted=self.conflicted & possibly,
            suspected=frozenset(_live(self.suspected, view)),
        )._suspect_next(view)

    def _suspect_next(self, view: RunView) -> "Term":
        """Suspect the next runs of those definitions of which all that were suspected before are settled."""
        if not self.unfenced:
            return self
        busy = {run.definition for run in _live(self.suspected, view).values()}
        unfenced, suspected = dict(self.unfenced), set(self.suspected)
        for definition, pins in self.unfenced.items():
            if definition in busy:
                continue
            live = tuple(_live(pins, view))
            suspected.update(live[:FENCED_AT_ONCE])
            unfenced[definition] = live[FENCED_AT_ONCE:]
            if not unfenced[definition]:
                del unfenced[definition]
        return self._replace(suspected=frozenset(suspected), unfenced=unfenced)

    def sent(self) -> frozenset[Pin]:
        """The pins of admissions in flight."""
        return frozenset(write.pin for write in self.in_flight if write.purpose is Purpose.ADMIT)

    def landing(self) -> frozenset[Pin]:
        """The pins of which an admission may land. Each holds a slot."""
        return self.sent() | self.possibly_admitted | self.suspected

    def unsettled(self) -> frozenset[Pin]:
        """The pins that the intent names when nothing more is sent."""
        return self.sent() | self.possibly_admitted

    def named(self, chosen: Iterable[Run], view: RunView) -> frozenset[Pin]:
        """The pins of the next intent: what may land, what is intended, and what is chosen now."""
        kept = self.intended | self.sent() | self.possibly_admitted
        if self.is_listed:
            kept = frozenset(_live(kept, view))
        return kept | {_pin(run) for run in chosen}

    @property
    def complete(self) -> bool:
        """Whether `named` is all that may be under way."""
        return self.predecessor_known and not self.suspected and not self.unfenced

    # The next intent.

    def choose(self, view: RunView, slots: Mapping[str, int], resting: Callable[[str], bool]) -> list[Run]:
        """Choose the runs for the next intent.

        First candidates of all definitions come before second candidates. Among equals, the definition that was served
        longest ago goes first.

        Args:
            view: of the cluster.
            slots: how many runs of each definition may be active; a definition that isn't there has none.
            resting: whether a failing definition is to be left alone now, because its pause is not over.
        """
        if not self.is_listed:
            return []
        landing = _live(self.landing(), view)
        held = Counter(run.definition for run in landing.values())
        waiting = self._sendable_soon(view, slots, held, resting)
        intended = Counter(run.definition for run in waiting.values())
        of_failing = sum(intended[definition] for definition in self.failing)
        nameable = max(0, MOST_NAMED - len(self.unsettled()) - len(waiting))
        room = {False: BATCH - len(waiting) + of_failing, True: SLOW_WRITERS - of_failing}
        uids = {pin.uid for pin in [*landing, *waiting]}
        ranked: list[tuple[int, int, tuple[int, str], Run]] = []
        for definition in view.startable():
            most = self._may_intend(definition, view, slots, held, resting) - intended[definition]
            most = min(most, nameable, room[definition in self.failing])
            if most <= 0:
                continue
            served = self.served.get(definition, -1)
            able = (run for run in view.startable_runs(definition) if run.uid not in uids)
            ranked += ((rank, served, queue_key(run), run) for rank, run in enumerate(islice(able, most)))
        ranked.sort(key=lambda one: one[:3])
        chosen: list[Run] = []
        for *_, run in ranked:
            is_failing = run.definition in self.failing
            if room[is_failing] > 0:
                room[is_failing] -= 1
                chosen.append(run)
        return chosen[:nameable]

    def drop_unsendable(self, view: RunView, slots: Mapping[str, int], resting: Callable[[str], bool]) -> "Term":
        """Forget the intended runs that can't be sent soon: they would take the room of others."""
        held = Counter(run.definition for run in _live(self.landing(), view).values())
        return self._replace(intended=frozenset(self._sendable_soon(view, slots, held, resting)))

    def _sendable_soon(
        self, view: RunView, slots: Mapping[str, int], held: Mapping[str, int], resting: Callable[[str], bool]
    ) -> dict[Pin, Run]:
        """The intended runs that may be sent soon, the first ones of each queue."""
        kept: dict[Pin, Run] = {}
        count: Counter[str] = Counter()
        for pin, run in sorted(_live(self.intended, view).items(), key=lambda one: queue_key(one[1])):
            if count[run.definition] < self._may_intend(run.definition, view, slots, held, resting):
                kept[pin] = run
                count[run.definition] += 1
        return kept

    def _may_intend(
        self,
        definition: str,
        view: RunView,
        slots: Mapping[str, int],
        held: Mapping[str, int],
        resting: Callable[[str], bool],
    ) -> int:
        """How many runs of a definition may stand in the Lease and wait for a writer."""
        if resting(definition):
            return 0
        free = self._free_slots(definition, view, slots, held)
        return min(free, 1) if definition in self.failing else free

    def _free_slots(self, definition: str, view: RunView, slots: Mapping[str, int], held: Mapping[str, int]) -> int:
        """How many more admissions of a definition may be sent; negative: more than its slots may be taken already."""
        if definition in self.unfenced:
            return -1
        return slots.get(definition, 0) - view.active(definition) - held.get(definition, 0)

    def is_urgent(self, chosen: Iterable[Run], view: RunView) -> bool:
        """Whether an intent should be written for these runs now, rather than with a later batch."""
        if len(self.intended) < REFILL:
            return True
        intended = {run.definition for run in _live(self.intended, view).values()}
        return any(run.definition not in intended for run in chosen)

    def intend(self, chosen: Iterable[Run]) -> "Term":
        """Take in that an intent with these runs stands in the Lease."""
        return self._replace(intended=self.intended | {_pin(run) for run in chosen})

    # The next write.

    def next_write(
        self,
        view: RunView,
        slots: Mapping[str, int],
        resting: Callable[[str], bool],
        due: Callable[[Pin], bool],
    ) -> Write | None:
        """Choose the write that a free writer should make; `None`: there is none now.

        The definition with the fewest writes in flight goes first, and of those the one served longest ago. Only a
        healthy definition without slow writes may have more than one in flight.

        Args:
            view: of the cluster.
            slots: see `choose`.
            resting: see `choose`.
            due: whether a pin that may be admitted already is to be settled now.
        """
        if not self.is_confirmed:
            return None
        flying = Counter(write.definition for write in self.in_flight)
        most = dict.fromkeys(self.healthy - {write.definition for write in self.slow}, WRITERS - 1)
        writer_is_free = len(self.in_flight) - min(len(self.slow), SLOW_WRITERS) < WRITERS
        slow_writer_is_free = len(self.slow) < SLOW_WRITERS
        best: tuple[tuple[int, int, int, tuple[int, str]], Write] | None = None
        for settles, run, write in self._sendable(view, slots, due):
            definition = write.definition
            if flying[definition] >= most.get(definition, 1) or resting(definition):
                continue
            if not (slow_writer_is_free if definition in self.failing else writer_is_free):
                continue
            key = (flying[definition], self.served.get(definition, -1), 0 if settles else 1, queue_key(run))
            if best is None or key < best[0]:
                best = (key, write)
        return best[1] if best else None

    def _sendable(
        self, view: RunView, slots: Mapping[str, int], due: Callable[[Pin], bool]
    ) -> Iterator[tuple[bool, Run, Write]]:
        """List the writes for which a slot is free and dependencies are ready, and whether each settles a pin."""
        landing = _live(self.landing(), view)
        held = Counter(run.definition for run in landing.values())
        flying = {write.pin for write in self.in_flight}
        for pin in self.possibly_admitted | self.suspected:
            run = landing.get(pin)
            if run is None or pin in flying or not due(pin):
                continue
            fits = self._free_slots(run.definition, view, slots, held) >= 0
            if pin in self.conflicted:
                yield True, run, self._write(Purpose.READ, run)
            elif fits and pin not in self.suspected and pin not in self.fence_only and view.may_start(run):
                yield True, run, self._write(Purpose.ADMIT, run)
            else:
                yield True, run, self._write(Purpose.FENCE, run)
        for pin, run in _live(self.intended, view).items():
            fits = self._free_slots(run.definition, view, slots, held) > 0
            if fits and pin not in landing and view.may_start(run):
                yield False, run, self._write(Purpose.ADMIT, run)

    def _write(self, purpose: Purpose, run: Run) -> Write:
        return Write(purpose, _pin(run), run.definition, run.name, self.number)

    def hand_over(self, write: Write) -> "Term":
        """Take in that a writer has this write. From now on it holds its slot."""
        return self._replace(
            intended=self.intended - {write.pin},
            in_flight=self.in_flight | {write},
            slow=self.slow | {write} if write.definition in self.failing else self.slow,
            served={**self.served, write.definition: self.writes},
            writes=self.writes + 1,
        )

    def mark_slow(self, write: Write) -> "Term":
        """Take in that a write is taking long."""
        return self._replace(slow=self.slow | {write}) if write in self.in_flight else self

    # How a write of this term ended.

    def _end(self, write: Write, *, failing: bool | None) -> "Term":
        ended = self._replace(in_flight=self.in_flight - {write}, slow=self.slow - {write})
        if failing is None:
            return ended
        definition = frozenset({write.definition})
        if failing:
            return ended._replace(failing=self.failing | definition, healthy=self.healthy - definition)
        return ended._replace(failing=self.failing - definition, healthy=self.healthy | definition)

    def succeeded(self, write: Write) -> "Term":
        """The write was carried out; the view has the run's new version already."""
        if write not in self.in_flight:  # of an earlier term
            return self
        ended = self._end(write, failing=False)
        return ended._replace(conflicted=ended.conflicted - {write.pin})

    def unanswered(self, write: Write) -> "Term":
        """Nobody can say whether the write was carried out, or will be."""
        if write not in self.in_flight:  # of an earlier term
            return self
        ended = self._end(write, failing=True)
        return ended._possibly_admit(write)

    def conflicts(self, write: Write) -> "Term":
        """The run is not in this version any more, or does not exist; the view does not show it yet."""
        if write not in self.in_flight:  # of an earlier term
            return self
        ended = self._end(write, failing=None)._possibly_admit(write)
        if write.pin not in ended.possibly_admitted:
            return ended
        return ended._replace(conflicted=ended.conflicted | {write.pin})

    def refused(self, write: Write) -> "Term":
        """The API server has refused this write for good. One that was sent earlier may still land.

        The refusal of a fence settles a suspected pin only: the cluster would refuse the suspected admission by the
        same rule, and a definition must not wait for ever for a run that can't be changed.
        """
        if write not in self.in_flight:  # of an earlier term
            return self
        ended = self._end(write, failing=True)
        if write.purpose is Purpose.FENCE:
            return ended._replace(suspected=ended.suspected - {write.pin})
        if write.purpose is Purpose.ADMIT and write.pin in self.possibly_admitted:
            return ended._replace(fence_only=ended.fence_only | {write.pin})
        return ended

    def not_sent(self, write: Write) -> "Term":
        """The write was not carried out, for a reason that does not concern this run. Its pin stands in the Lease."""
        if write not in self.in_flight:  # of an earlier term
            return self
        ended = self._end(write, failing=True)
        if write.purpose is Purpose.ADMIT and write.pin not in self.possibly_admitted:
            return ended._replace(intended=ended.intended | {write.pin})
        return ended

    def _possibly_admit(self, write: Write) -> "Term":
        if write.purpose is Purpose.ADMIT:
            return self._replace(possibly_admitted=self.possibly_admitted | {write.pin})
        return self


def _pin(run: Run) -> Pin:
    return Pin(run.uid, run.resource_version)


def _live(pins: Iterable[Pin], view: RunView) -> dict[Pin, Run]:
    """The pins whose runs are queued in exactly this version, with the runs: only these can still be admitted."""
    found = {}
    for pin in pins:
        run = view.get(pin.uid)
        if run is not None and run.resource_version == pin.version and run.phase is Phase.QUEUED:
            found[pin] = run
    return found
