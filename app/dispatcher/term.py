"""One term of a leader: the writes that it has sent or may send. A value, with a function for each step. Pure.

A patch carries a resourceVersion, so it takes effect ("lands") only while its run still has that version (a `Pin`). The
next holder of the Lease reads from the Lease which pins may still land. So no decision here needs a clock.
docs/adr/0005-intent-in-the-lease.md lists the rules, and goes through the failures one by one.

Which sets of pins each method combines:

| method | in flight | in doubt | suspected | unsent | chosen | purpose |
| --- | --- | --- | --- | --- | --- | --- |
| `sent` | yes | | | | | admissions that have no answer yet |
| `unsettled` | yes | yes | | | | written into the Lease when it is released |
| `landing` | yes | yes | yes | | | each of these holds a slot |
| `named` | yes | yes | | yes | yes | written into the Lease when it is renewed |

Suspected pins are not written into the Lease. Instead, `complete` is false as long as there are any.

To *settle* a pin that is in doubt or suspected means to make sure that its admission has landed or can't land any more.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from app.dispatcher import fence
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.slots import RunsInView, live_runs
from app.dispatcher.write import SLOW_WRITERS, Purpose, Write, pin_of
from app.domain.run import Run

_NOTHING: frozenset[Pin] = frozenset()


class View(RunsInView, fence.QueuedRuns, Protocol):
    """What the leader knows of the cluster, listed after it took the Lease."""

    def may_start(self, run: Run) -> bool:
        """Whether a queued run's dependencies are ready and nothing else holds it."""


class Standing(Enum):
    """How the writes for runs of a definition have gone in this term."""

    UNTRIED = "untried"
    """No write has succeeded or failed yet."""
    HEALTHY = "healthy"
    """Its last write succeeded."""
    FAILING = "failing"
    """Its last write was refused, was not sent, or had no answer. `DefinitionBackoff` tells how long it then rests."""


class Term(NamedTuple):
    """The state of a leader's term. Every method that changes something returns the changed term.

    A write is *slow* when it takes long, or was made for a failing definition; any other is *prompt*.

    Attributes:
        number: the number of the term, unique in this process.
        is_listed: whether the view has been filled in this term. Until then no run is chosen.
        is_confirmed: whether the Lease was written after the view was filled. Until then no write is sent. If etcd was
            restored to an older state in between, that write of the Lease conflicts.
        unsent: the pins in the Lease that this leader may send and has not sent yet.
        in_flight: the writes that were handed to a writer and have no answer yet.
        slow: the writes in flight that are slow, in the order in which they became slow.
        given_up: the slow writes in flight whose answers are no longer waited for.
        in_doubt: the pins whose admission may still land: it was sent and had no answer, or the predecessor's intent
            contains it.
        fence_only: the pins in doubt whose admission was refused later. Only a fence can settle them.
        conflicted: the pins in doubt whose last write conflicted. The watch should soon show another version of the
            run. If it does not, the run is read.
        suspected: the pins of runs that an unknown predecessor may have been admitting. They are being fenced.
        to_suspect: by definition, the pins that will be suspected next. As long as a definition has any, none of its
            runs is admitted.
        suspects_collected: whether all pins that must be fenced are known. `False` after an unknown predecessor, until
            the view is filled.
        failing: the failing definitions.
        healthy: the healthy definitions.
        served: when each definition last had a write handed to a writer, by a count of writes.
        writes: that count.
    """

    number: int = 0
    is_listed: bool = False
    is_confirmed: bool = False
    unsent: frozenset[Pin] = _NOTHING
    in_flight: frozenset[Write] = frozenset()
    slow: tuple[Write, ...] = ()
    given_up: frozenset[Write] = frozenset()
    in_doubt: frozenset[Pin] = _NOTHING
    fence_only: frozenset[Pin] = _NOTHING
    conflicted: frozenset[Pin] = _NOTHING
    suspected: frozenset[Pin] = _NOTHING
    to_suspect: Mapping[str, tuple[Pin, ...]] = {}
    suspects_collected: bool = True
    failing: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    served: Mapping[str, int] = {}
    writes: int = 0

    # The term begins.

    @classmethod
    def begin(cls, intent: Intent) -> "Term":
        """Begin a term with the intent that took the Lease. It contains every admission that may still land."""
        return cls(number=intent.sequence, in_doubt=intent.pins, suspects_collected=intent.complete)

    def listed(self, view: View) -> "Term":
        """Record that the view has been filled for the first time in this term."""
        to_suspect = {} if self.suspects_collected else fence.collect_suspects(view, self.in_doubt)
        return self._replace(is_listed=True, to_suspect=to_suspect, suspects_collected=True).prune(view)

    def prune(self, view: View) -> "Term":
        """Forget the pins whose runs have another version or are no longer queued: no patch for them can land."""
        if not (self.unsent or self.in_doubt or self.suspected or self.to_suspect):
            return self
        in_doubt = frozenset(live_runs(self.in_doubt, view))
        suspected, to_suspect = frozenset(live_runs(self.suspected, view)), self.to_suspect
        if to_suspect:
            suspected, to_suspect = fence.suspect_next(view, suspected, to_suspect)
        return self._replace(
            unsent=frozenset(pin for pin, run in live_runs(self.unsent, view).items() if view.may_start(run)),
            in_doubt=in_doubt,
            fence_only=self.fence_only & in_doubt,
            conflicted=self.conflicted & in_doubt,
            suspected=suspected,
            to_suspect=to_suspect,
        )

    # Sets of pins.

    def sent(self) -> frozenset[Pin]:
        """The pins of admissions in flight."""
        return frozenset(write.pin for write in self.in_flight if write.purpose is Purpose.ADMIT)

    def landing(self) -> frozenset[Pin]:
        """The pins whose admission may still land. Each holds a slot."""
        return self.sent() | self.in_doubt | self.suspected

    def unsettled(self) -> frozenset[Pin]:
        """The pins of the last intent of a term, when no further admission is sent."""
        return self.sent() | self.in_doubt

    def named(self, chosen: Iterable[Run], view: View) -> frozenset[Pin]:
        """The pins of the next intent: those that may still land, those that are unsent, and the chosen runs'."""
        kept = self.unsent | self.sent() | self.in_doubt
        if self.is_listed:
            kept = frozenset(live_runs(kept, view))
        return kept | {pin_of(run) for run in chosen}

    @property
    def complete(self) -> bool:
        """Whether `named` contains every pin whose admission may still land."""
        return self.suspects_collected and not self.suspected and not self.to_suspect

    def standing(self, definition: str) -> Standing:
        """How the writes for runs of a definition have gone."""
        if definition in self.failing:
            return Standing.FAILING
        return Standing.HEALTHY if definition in self.healthy else Standing.UNTRIED

    def in_prompt_writers(self) -> frozenset[Write]:
        """The writes that occupy prompt writers. The first `SLOW_WRITERS` slow writes occupy the slow writers."""
        return self.in_flight - frozenset(self.slow[:SLOW_WRITERS])

    # A write begins.

    def keep_unsent(self, batch: Iterable[Run]) -> "Term":
        """Forget the unsent pins of all runs but these.

        Call this before the Lease is written, not after. The next intent does not name these pins, so they must not be
        sent any more.
        """
        return self._replace(unsent=self.unsent & {pin_of(run) for run in batch})

    def intend(self, chosen: Iterable[Run]) -> "Term":
        """Record that an intent with these runs has been stored in the Lease."""
        return self._replace(unsent=self.unsent | {pin_of(run) for run in chosen})

    def hand_over(self, write: Write) -> "Term":
        """Record that a writer has taken this write. From now on its run holds a slot."""
        return self._replace(
            unsent=self.unsent - {write.pin},
            in_flight=self.in_flight | {write},
            slow=(*self.slow, write) if write.definition in self.failing else self.slow,
            served={**self.served, write.definition: self.writes},
            writes=self.writes + 1,
        )

    def mark_slow(self, write: Write) -> "Term":
        """Record that a write has become slow."""
        if write not in self.in_flight or write in self.slow:
            return self
        return self._replace(slow=(*self.slow, write))

    # A write of this term ends.

    def _end(self, write: Write, *, failing: bool | None) -> "Term":
        ended = self._replace(
            in_flight=self.in_flight - {write},
            slow=tuple(slow for slow in self.slow if slow != write),
            given_up=self.given_up - {write},
        )
        if failing is None:
            return ended
        definition = frozenset({write.definition})
        if failing:
            return ended._replace(failing=self.failing | definition, healthy=self.healthy - definition)
        return ended._replace(failing=self.failing - definition, healthy=self.healthy | definition)

    def succeeded(self, write: Write) -> "Term":
        """Record that the write was carried out. The view already contains the run's new version."""
        if write not in self.in_flight:  # it belongs to an earlier term
            return self
        ended = self._end(write, failing=False)
        return ended._replace(conflicted=ended.conflicted - {write.pin})

    def lost_answer(self, write: Write) -> "Term":
        """Record that the write had no answer: it may have been carried out, or may still be carried out."""
        if write not in self.in_flight:  # it belongs to an earlier term
            return self
        ended = self._end(write, failing=True)
        return ended._doubt(write)

    def conflicts(self, write: Write) -> "Term":
        """Record a conflict: the run has another version or does not exist, and the view does not show this yet."""
        if write not in self.in_flight:  # it belongs to an earlier term
            return self
        ended = self._end(write, failing=None)._doubt(write)
        if write.pin not in ended.in_doubt:
            return ended
        return ended._replace(conflicted=ended.conflicted | {write.pin})

    def refused(self, write: Write) -> "Term":
        """Record that the API server refused this write. An earlier write for the same pin may still land.

        A refused fence settles a suspected pin, but not a pin in doubt. The API server would refuse the suspected
        admission by the same rule, and a definition must not wait for ever for a run that can't be changed.
        """
        if write not in self.in_flight:  # it belongs to an earlier term
            return self
        ended = self._end(write, failing=True)
        if write.purpose is Purpose.FENCE:
            return ended._replace(suspected=ended.suspected - {write.pin})
        if write.purpose is Purpose.ADMIT and write.pin in self.in_doubt:
            return ended._replace(fence_only=ended.fence_only | {write.pin})
        return ended

    def not_sent(self, write: Write) -> "Term":
        """Record that the write was not carried out, for a reason unrelated to its run. The Lease still has its pin."""
        if write not in self.in_flight:  # it belongs to an earlier term
            return self
        ended = self._end(write, failing=True)
        if write.purpose is Purpose.ADMIT and write.pin not in self.in_doubt:
            return ended._replace(unsent=ended.unsent | {write.pin})
        return ended

    def _doubt(self, write: Write) -> "Term":
        if write.purpose is Purpose.ADMIT:
            return self._replace(in_doubt=self.in_doubt | {write.pin})
        return self
