"""The dispatcher's rules, each taken out in turn: the model has to find every one of them.

A mutant replaces one method of the product, or one rule of `Rules`, for as long as its context lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.dispatcher import fence, next_admission, start_deadline
from app.dispatcher.intent import Pin
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim
from app.dispatcher.queue_deadlines import QueueDeadlines
from app.dispatcher.queues import Queues
from app.dispatcher.term import Standing, Term
from app.dispatcher.write import Purpose
from app.domain.attempt import Attempt
from app.domain.run import Phase, queue_key
from app.kube import manifests
from tests.model.steps import Action
from tests.model.world import Rules

NOTHING: frozenset[Pin] = frozenset()


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out.

    Attributes:
        rule: what does not hold any more, as docs/testing.md lists it.
        promise: the one that is broken then.
        owner: whose attribute is replaced.
        name: of the attribute.
        replacement: makes the new attribute of the old one.
        world: the one of `EXHAUSTIVE` that finds it; empty: drawn schedules do.
        first_steps: the steps in that world after which every schedule is explored, if all of them would take long.
        kind: the one of `DRAWN` in which it is found soonest; negative: the seed chooses.
        first_seed: the search begins there; a schedule soon after it is known to find the mutant.
    """

    rule: str
    promise: str
    owner: Any
    name: str
    replacement: Callable[[Any], Any]
    world: str = ""
    first_steps: tuple[Action, ...] = ()
    kind: int = -1
    first_seed: int = 0


@contextmanager
def without(mutant: Mutant) -> Iterator[None]:
    """Take the mutant's rule out for a while."""
    before = mutant.owner.__dict__[mutant.name]
    setattr(mutant.owner, mutant.name, mutant.replacement(before))
    try:
        yield
    finally:
        setattr(mutant.owner, mutant.name, before)


def _sends_without_intent(old: Any) -> Any:
    def prepare(self: Leadership, view: Any, slots: Any, resting: Any) -> Any:
        prepared, intent = old(self, view, slots, resting)
        chosen = {Pin(run.uid, run.resource_version) for run in prepared.proposed}
        term = prepared.term.intend(prepared.proposed)
        return prepared._replace(term=term, proposed=()), intent._replace(pins=intent.pins - chosen)

    return prepare


def _begins_with(**changes: Any) -> Callable[[Any], Any]:
    """Terms that begin with something else than their intent says."""

    def replacement(old: Any) -> Any:
        def begin(cls: type[Term], intent: Any) -> Term:
            return old.__func__(cls, intent)._replace(**changes)  # type: ignore[no-any-return]

        return classmethod(begin)

    return replacement


def _named_without(part: Callable[[Term], frozenset[Pin]]) -> Callable[[Any], Any]:
    def replacement(old: Any) -> Any:
        def named(self: Term, chosen: Any, view: Any) -> Any:
            mine = {Pin(run.uid, run.resource_version) for run in chosen}
            return (old(self, chosen, view) - part(self)) | mine

        return named

    return replacement


def _landing_without(part: Callable[[Term], frozenset[Pin]]) -> Callable[[Any], Any]:
    return lambda old: lambda self: old(self) - part(self)


def _without_version(old: Any) -> Any:
    def build(resource_version: int, why: str) -> Any:
        patch = old(resource_version, why)
        del patch["metadata"]["resourceVersion"]
        return patch

    return build


def _fresh_version(_old: Any) -> Any:
    def sendable(term: Term, view: Any, slots: Any, is_due: Any) -> Any:
        fresh = {pin.uid for pin in term.unsent}
        for pin in term.unsent:
            run = view.get(pin.uid)
            if run is not None and run.phase is Phase.QUEUED and run.uid in fresh and view.may_start(run):
                yield True, run, Purpose.ADMIT
        if not term.unsent:
            yield from _old(term, view, slots, is_due)

    return sendable


def _adopts_any_lease(old: Any) -> Any:
    def look(self: Claim, seen: Any) -> Claim:
        if self.held and seen is not None:
            return self._replace(base=seen, unanswered_writes=frozenset())
        return old(self, seen)  # type: ignore[no-any-return]

    return look


def _keeps_term_after_conflict(_old: Any) -> Any:
    return lambda self: self.lost_answer()


def _unanswered_is_refused(_old: Any) -> Any:
    return lambda self, write: self.refused(write)


def _trusts_unknown(_old: Any) -> Any:
    def listed(self: Term, view: Any) -> Term:
        return self._replace(is_listed=True, suspects_collected=True).prune(view)

    return listed


def _may_start_always(old: Any) -> Any:
    """Readiness is judged when a run is chosen, and not again when it is sent."""
    del old
    return lambda self, run: not run.held and not run.managed_elsewhere


def _sends_without_slot(old: Any) -> Any:
    class Plenty(dict[str, int]):
        def get(self, key: Any, default: Any = 0) -> Any:
            return 99

    def choose_write(term: Term, view: Any, slots: Mapping[str, int], is_resting: Any, is_due: Any) -> Any:
        return old(term, view, Plenty(slots), is_resting, is_due)

    return choose_write


def _settles_once(old: Any) -> Any:
    """A refused admission settles a pin that was sent before."""

    def refused(self: Term, write: Any) -> Term:
        ended = old(self, write)
        if write.purpose is Purpose.ADMIT:
            return ended._replace(in_doubt=ended.in_doubt - {write.pin})  # type: ignore[no-any-return]
        return ended  # type: ignore[no-any-return]

    return refused


def _conflict_settles(old: Any) -> Any:
    def conflicts(self: Term, write: Any) -> Term:
        ended = old(self, write)
        return ended._replace(in_doubt=ended.in_doubt - {write.pin})  # type: ignore[no-any-return]

    return conflicts


def _prunes_by_uid(old: Any) -> Any:
    """A pin is over as soon as its run is seen at all."""

    def listed(self: Term, view: Any) -> Term:
        ended = old(self, view)
        return ended._replace(in_doubt=NOTHING)  # type: ignore[no-any-return]

    return listed


def _serves_by_queue_only(old: Any) -> Any:
    def hand_over(self: Term, write: Any) -> Term:
        return old(self, write)._replace(served={}, writes=0)  # type: ignore[no-any-return]

    return hand_over


def _keeps_what_was_chosen(*, without_slot: bool) -> Callable[[Any], Any]:
    """Runs that are in the intent stay in it until they are sent."""

    def replacement(old: Any) -> Any:
        def choose_batch(term: Term, view: Any, slots: Any, is_resting: Any) -> Any:
            room = next_admission._Room()
            kept = [
                run
                for pin in sorted(term.unsent)
                if (run := view.get(pin.uid)) is not None
                and (without_slot or view.active(run.definition) < slots.get(run.definition, 0))
                and room.take(term.standing(run.definition))
            ]
            new = [run for run in old(term, view, slots, is_resting) if run not in kept]
            return kept + [run for run in new if room.take(term.standing(run.definition))]

        return choose_batch

    return replacement


def _first_of_each_definition(_old: Any) -> Any:
    """The first ones of each definition, whatever they wait for."""

    def first_queued(self: Queues, most: int) -> Iterator[Any]:
        for definition in self.definitions():
            runs = [*self.startable_runs(definition), *self.blocked_runs(definition)]
            yield from sorted(runs, key=queue_key)[:most]

    return first_queued


def _fences_one_round(old: Any) -> Any:
    return lambda view, suspected, to_suspect: (old(view, suspected, to_suspect)[0], {})


_SENT_AND_LEASE_DELETED: tuple[Action, ...] = (
    ("takes", 0),
    ("lease write answered", 0),
    ("lists", 0),
    ("renews", 0),
    ("lease write answered", 0),
    ("writes", 0),
    ("Lease deleted",),
)
"""The first leader has sent an admission, and the Lease that names it is gone."""

MUTANTS = {
    "no-intent": Mutant(
        "An admission is sent only after an intent with it stands in the Lease.",
        "promise",
        Leadership,
        "prepare_renewal",
        _sends_without_intent,
        kind=10,
        first_seed=10,
    ),
    "no-inheritance": Mutant(
        "A successor treats what the intent names as in doubt.",
        "promise",
        Term,
        "begin",
        _begins_with(in_doubt=NOTHING),
    ),
    "forgets-inheritance": Mutant(
        "An intent names what is in doubt for as long as it is.",
        "promise",
        Term,
        "named",
        _named_without(lambda term: term.in_doubt - term.sent()),
        kind=3,
        first_seed=20,
    ),
    "forgets-sent": Mutant(
        "An intent names what is in flight.",
        "promise",
        Term,
        "named",
        _named_without(lambda term: term.sent()),
        kind=10,
        first_seed=40,
    ),
    "forgets-unsent": Mutant(
        "An intent names what may still be sent of an earlier one.",
        "promise",
        Term,
        "named",
        _named_without(lambda term: term.unsent),
    ),
    "fresh-version": Mutant(
        "A patch carries the version that stands in the Lease, not the one last seen.",
        "promise",
        next_admission,
        "_sendable",
        _fresh_version,
        kind=9,
        first_seed=10,
    ),
    "doubts-hold-no-slot": Mutant(
        "What is in doubt holds its slot.",
        "promise 2",
        Term,
        "landing",
        _landing_without(lambda term: term.in_doubt - term.sent()),
    ),
    "flights-hold-no-slot": Mutant(
        "What is in flight holds its slot.", "promise 2", Term, "landing", _landing_without(lambda term: term.sent())
    ),
    "sends-without-slot": Mutant(
        "A write is handed over only while there is a slot for it.",
        "promise 2",
        next_admission,
        "choose_write",
        _sends_without_slot,
    ),
    "unanswered-is-refused": Mutant(
        "A write without an answer may have been carried out.",
        "promise 2",
        Term,
        "lost_answer",
        _unanswered_is_refused,
        world="one leader, late and refused writes",
    ),
    "refusal-settles": Mutant(
        "A refusal says nothing about an earlier write that was not answered.",
        "promise 2",
        Term,
        "refused",
        _settles_once,
        "one leader, late and refused writes",
    ),
    "conflict-settles": Mutant(
        "After a conflict the slot is held until the run is seen in another version.",
        "promise 2",
        Term,
        "conflicts",
        _conflict_settles,
        "one leader, late and refused writes",
    ),
    "settled-unseen": Mutant(
        "A pin is over when its run is seen in another version, not when it is seen.",
        "promise",
        Term,
        "listed",
        _prunes_by_uid,
    ),
    "blind-lease": Mutant(
        "The Lease is written with its resourceVersion.",
        "promise",
        Rules,
        "compares_lease_versions",
        lambda _old: False,
    ),
    "lists-before": Mutant(
        "The runs are listed after the Lease was taken.",
        "promise",
        Rules,
        "lists_after_taking",
        lambda _old: False,
        kind=8,
    ),
    "adopts-any-lease": Mutant(
        "A Lease that somebody else has written ends the term.",
        "promise",
        Claim,
        "look",
        _adopts_any_lease,
        kind=5,
        first_seed=100,
    ),
    "trusts-unknown": Mutant(
        "After a predecessor without an intent the first queued runs are fenced.",
        "promise",
        Term,
        "listed",
        _trusts_unknown,
        kind=9,
        first_seed=130,
    ),
    "forgets-unknown": Mutant(
        "Until they are, the intent says that it is not complete.",
        "promise",
        Term,
        "complete",
        lambda _old: property(lambda _self: True),
        world="three leaders, a Lease that is deleted",
        first_steps=_SENT_AND_LEASE_DELETED,
    ),
    "ready-when-chosen": Mutant(
        "Dependencies are judged again when a write is handed over.",
        "promise 3",
        Queues,
        "may_start",
        _may_start_always,
    ),
    "unconfirmed": Mutant(
        "Nothing is sent before the Lease was written once more after the list.",
        "promise",
        Term,
        "listed",
        lambda old: lambda self, view: old(self, view)._replace(is_confirmed=True),
        kind=6,
        first_seed=240,
    ),
    "keeps-confirmed": Mutant(
        "Nothing is sent after a watch broke before the Lease was written once more.",
        "promise",
        Leadership,
        "unconfirm",
        lambda _old: lambda self: self,
        kind=6,
        first_seed=1300,
    ),
    "resumes-blindly": Mutant(
        "A watch that broke goes on only if the last change that it has shown still stands.",
        "promise",
        Rules,
        "checks_resumed_watches",
        lambda _old: False,
        world="one leader, a restore, a run that ends",
    ),
    "first-come-only": Mutant(
        "The definition that was served longest ago goes first.", "promise 5", Term, "hand_over", _serves_by_queue_only
    ),
    "untried-take-all": Mutant(
        "Definitions that have not been tried do not hold every writer.",
        "promise 5",
        next_admission,
        "_count_free_writers",
        lambda old: lambda term: old(term) | {Standing.UNTRIED: old(term)[Standing.HEALTHY]},
        kind=3,
    ),
    "several-while-slow": Mutant(
        "Only healthy definitions have several writes in flight.",
        "promise 5",
        next_admission,
        "_may_have_several",
        lambda _old: lambda term: term.healthy | term.failing,
    ),
    "many-while-slow": Mutant(
        "Definitions with slow writes have several only as far as the slow writers go.",
        "promise 5",
        next_admission,
        "_may_have_several",
        lambda _old: lambda term: term.healthy,
        kind=11,
    ),
    "gives-up-nothing": Mutant(
        "Slow writes that hold all writers are given up where another definition waits.",
        "promise 5",
        next_admission,
        "give_up_slow_writes",
        lambda _old: lambda term, *_others: term,
        kind=11,
        first_seed=300,
    ),
    "keeps-room": Mutant(
        "An unsent run that has no slot any more takes no room from others.",
        "promise 5",
        next_admission,
        "choose_batch",
        _keeps_what_was_chosen(without_slot=True),
        kind=9,
    ),
    "keeps-place": Mutant(
        "An unsent run gives its place to the first run of another definition.",
        "promise 5",
        next_admission,
        "choose_batch",
        _keeps_what_was_chosen(without_slot=False),
        kind=14,
    ),
    "no-bound": Mutant(
        "An intent has no more unsent runs than it has room for.",
        "promise 5",
        next_admission._Room,
        "left",
        lambda _old: lambda _self, _standing: 99,
        kind=9,
    ),
    "fences-one-group": Mutant(
        "After an unknown predecessor the first queued runs of each group are fenced.",
        "promise",
        Queues,
        "first_queued",
        _first_of_each_definition,
        kind=10,
        first_seed=500,
    ),
    "ends-any-version": Mutant(
        "A run is ended in the queue only in the version in which it is known as queued.",
        "promise 1",
        manifests,
        "build_queue_timeout",
        _without_version,
        world="a time in the queue that ends",
    ),
    "ends-early": Mutant(
        "A run is ended in the queue only when its time there is over.",
        "promise 1",
        QueueDeadlines,
        "overdue",
        lambda _old: lambda self, _now: iter([uid for _, uid in self._keys]),
        world="a time in the queue that ends",
    ),
    "gives-up-any-version": Mutant(
        "A run is given up only in the version in which it has not started.",
        "promise 1",
        manifests,
        "build_start_timeout",
        _without_version,
        world="a start that takes too long",
    ),
    "gives-up-started": Mutant(
        "A run whose container has started is not given up.",
        "promise 1",
        Attempt,
        "has_started",
        lambda _old: property(lambda _self: False),
        world="a start that takes too long",
    ),
    "gives-up-early": Mutant(
        "A run is given up only when its time to start is over.",
        "promise 1",
        start_deadline,
        "_deadline",
        lambda old: lambda awaited, since, why, **more: replace(old(awaited, since, why, **more), due=0),
        world="a start that takes too long",
    ),
    "fences-one-round": Mutant(
        "Nothing of a definition is admitted while runs of it are still to be fenced.",
        "promise",
        fence,
        "suspect_next",
        _fences_one_round,
        kind=10,
        first_seed=500,
    ),
}
