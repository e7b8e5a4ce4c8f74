"""Which notification is delivered next, and what follows from how that went. Pure: no thread, no I/O, no clock.

A receiver is what fails together: the scheme, host and port of a URL. One that has not answered well is tried by one
delivery at a time, with growing pauses, and such receivers never hold all workers. So none delays another.

A receiver that refuses an event has answered. So a refusal says nothing about the receiver: it delays this run if the
URL has accepted others, else this URL.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from app.common.backoff_table import BackoffTable
from app.dispatcher.undelivered import UndeliveredRuns, ended_at
from app.domain.run import Run
from schemas.definition import Definition
from schemas.notify import HIGHEST_MAX_UNDELIVERED, Notify
from schemas.run import Notification

WORKERS = 4

_PER_RECEIVER = 2
"""How many deliveries to a receiver that answers well may be under way."""

_DOUBTFUL_WORKERS = WORKERS - 1
"""How many workers the other receivers may hold together."""

GIVE_UP_SECONDS = 24 * 3600
"""How long after its end a run is given up."""

_FIRST_SECONDS = 1.0
_LAST_RECEIVER_SECONDS = 300.0
"""The longest pause of a receiver that fails, or of a URL that refuses all: one request every five minutes finds out
that it is back."""
_LAST_RUN_SECONDS = 3600.0
"""The longest pause of a run that is refused by a URL that accepts others."""
_LAST_API_SECONDS = 30.0

_ACCEPTED_LATER = frozenset({408, 425, 429})
"""The statuses from 400 to 499 that say nothing about the event."""


class ReceiverStanding(Enum):
    """How the last delivery to a receiver went."""

    UNTRIED = "untried"
    HEALTHY = "healthy"
    FAILING = "failing"


class Delivery(NamedTuple):
    """What a worker is to do for a run.

    Attributes:
        run: has ended.
        state: what is written on the run. `DELIVERED`: after the event was sent.
        notify: where to send it; `None`: nothing is sent.
        why: for people; why it is given up.
    """

    run: Run
    state: Notification
    notify: Notify | None = None
    why: str = ""


FindDefinition = Callable[[str], Definition | None]
"""Returns the definition of a name; `None`: there is none, or none yet."""


class Deliveries:
    """What has been tried, and what is under way. A lock of the caller guards it."""

    def __init__(self) -> None:
        self._in_flight: dict[str, str] = {}  # by uid, the receiver; empty: nothing is sent
        self._told: dict[str, tuple[int, Notification]] = {}  # by uid: what is still to be written, and for which end
        self._failed: dict[str, None] = {}  # the uids of runs whose delivery failed, the one tried last at the end
        self._run_backoff = BackoffTable[str](_FIRST_SECONDS, _LAST_RUN_SECONDS)
        self._write_backoff = BackoffTable[str](_FIRST_SECONDS, _LAST_RUN_SECONDS)
        self._api_backoff = BackoffTable[None](_FIRST_SECONDS, _LAST_API_SECONDS)
        self._receiver_backoff = BackoffTable[str](_FIRST_SECONDS, _LAST_RECEIVER_SECONDS)
        self._standing: dict[str, ReceiverStanding] = {}
        self._url_backoff = BackoffTable[str](_FIRST_SECONDS, _LAST_RECEIVER_SECONDS)
        self._accepting: set[str] = set()  # the URLs that did not refuse the last event
        self._served: dict[str, int] = {}  # by definition: the number of the delivery that served it last
        self._number = 0

    # What is next.

    def choose(
        self, runs: UndeliveredRuns, find_definition: FindDefinition, now: float, server_now: float
    ) -> Delivery | None:
        """Choose what a free worker does next, and record that it does; `None`: nothing now.

        Args:
            runs: those whose end is to be told.
            find_definition: see `FindDefinition`.
            now: seconds that never go back.
            server_now: seconds since the epoch, by the API server's clock.
        """
        if self._api_backoff.is_waiting(None, now):
            return None
        for definition in sorted(runs.definitions(), key=lambda name: self._served.get(name, 0)):
            delivery = self._choose_of(definition, runs, find_definition(definition), now, server_now)
            if delivery is not None:
                self._in_flight[delivery.run.uid] = "" if delivery.notify is None else delivery.notify.receiver
                self._number += 1
                self._served[definition] = self._number
                return delivery
        return None

    def _choose_of(
        self, name: str, runs: UndeliveredRuns, definition: Definition | None, now: float, server_now: float
    ) -> Delivery | None:
        groups = {outcome: group for (of, outcome), group in runs.groups.items() if of == name}
        notify = None if definition is None else definition.notify
        for outcome, group in groups.items():
            if (told := self._next_told(group, now)) is not None:
                return told
            if definition is not None and (notify is None or outcome not in notify.on):
                if (first := next(self._settleable(group, now), None)) is not None:
                    return Delivery(first, Notification.NOT_WANTED)
                continue
            if (first := next(self._settleable(group, now), None)) is not None and (
                why := _why_give_up(first, server_now)
            ):
                return Delivery(first, Notification.GIVEN_UP, why=why)
        wanted = {outcome: group for outcome, group in groups.items() if notify is None or outcome in notify.on}
        if definition is not None and notify is None:
            return None
        limit = HIGHEST_MAX_UNDELIVERED if notify is None else notify.max_undelivered  # a lower one may come back
        if sum(map(len, wanted.values())) - self._count_settled(wanted) > limit:
            firsts = [first for group in wanted.values() for first in _first(self._settleable(group, now))]
            if firsts:
                why = f"more than {limit} runs of {name} waited for the receiver"
                return Delivery(min(firsts, key=ended_at), Notification.GIVEN_UP, why=why)
        if notify is None or not self._can_take(notify, now):
            return None
        tries = [one for group in wanted.values() for one in _first(self._deliverable(group, now))]
        best = min(tries, key=lambda run: (run.uid in self._failed, ended_at(run)), default=None)
        return None if best is None else Delivery(best, Notification.DELIVERED, notify)

    def _count_settled(self, groups: Mapping[str, dict[str, Run]]) -> int:
        """Count the runs of which only a write is under way, or missing."""
        settled = self._told.keys() | {uid for uid, receiver in self._in_flight.items() if not receiver}
        return sum(uid in group for uid in settled for group in groups.values())

    def _next_told(self, group: dict[str, Run], now: float) -> Delivery | None:
        """Return a run for which only the write is missing."""
        for uid, (ended, state) in self._told.items():
            run = group.get(uid)
            if run is not None and ended_at(run) == ended and self._may_write(uid, now):
                return Delivery(run, state)
        return None

    def _may_write(self, uid: str, now: float) -> bool:
        return uid not in self._in_flight and not self._write_backoff.is_waiting(uid, now)

    def _settleable(self, group: dict[str, Run], now: float) -> Iterator[Run]:
        """Yield the runs that have not been told, and for which a write may be made now."""
        for uid, run in group.items():
            ended, _ = self._told.get(uid, (None, None))  # of another end, if etcd was restored since
            if ended != ended_at(run) and self._may_write(uid, now):
                yield run

    def _deliverable(self, group: dict[str, Run], now: float) -> Iterator[Run]:
        """Yield the runs that may be sent now: those that have not been tried, then the one tried longest ago."""
        for run in self._settleable(group, now):
            if run.uid not in self._failed:
                yield run
        for uid in self._failed:
            if uid in group and not self._run_backoff.is_waiting(uid, now):
                yield from self._settleable({uid: group[uid]}, now)

    def _can_take(self, notify: Notify, now: float) -> bool:
        receiver = notify.receiver
        if self._receiver_backoff.is_waiting(receiver, now) or self._url_backoff.is_waiting(notify.url, now):
            return False
        to_it = sum(one == receiver for one in self._in_flight.values())
        if self._stands(receiver) is ReceiverStanding.HEALTHY:
            return to_it < _PER_RECEIVER
        doubtful = sum(
            bool(one) and self._stands(one) is not ReceiverStanding.HEALTHY for one in self._in_flight.values()
        )
        return to_it == 0 and doubtful < _DOUBTFUL_WORKERS

    def _stands(self, receiver: str) -> ReceiverStanding:
        return self._standing.get(receiver, ReceiverStanding.UNTRIED)

    # How it went.

    def sent(self, delivery: Delivery) -> None:
        """Record that a receiver has accepted an event. It is not sent again, whatever becomes of the write."""
        assert delivery.notify is not None
        self._told[delivery.run.uid] = (ended_at(delivery.run), delivery.state)
        self._failed.pop(delivery.run.uid, None)
        self._run_backoff.succeed(delivery.run.uid)
        self._receiver_backoff.succeed(delivery.notify.receiver)
        self._standing[delivery.notify.receiver] = ReceiverStanding.HEALTHY
        self._url_backoff.succeed(delivery.notify.url)
        self._accepting.add(delivery.notify.url)
        self._in_flight[delivery.run.uid] = ""

    def not_sent(self, delivery: Delivery, status: int | None, retry_after_seconds: float, now: float) -> None:
        """Record that a receiver has not accepted an event.

        Args:
            delivery: what was tried.
            status: of its response; `None`: there was none.
            retry_after_seconds: how long the receiver asks to be left alone.
            now: see `choose`.
        """
        assert delivery.notify is not None
        uid, receiver, url = delivery.run.uid, delivery.notify.receiver, delivery.notify.url
        self._in_flight.pop(uid, None)
        self._failed.pop(uid, None)
        self._failed[uid] = None
        if status is not None and 300 <= status <= 499 and status not in _ACCEPTED_LATER:
            accepted_others = url in self._accepting
            self._accepting.discard(url)
            if accepted_others:  # perhaps only this event is at fault
                self._run_backoff.fail(uid, now, at_least=retry_after_seconds)
            if not accepted_others or retry_after_seconds:
                self._url_backoff.fail(url, now, at_least=retry_after_seconds)
            return
        if self._stands(receiver) is ReceiverStanding.HEALTHY:  # perhaps this event makes it fail
            self._run_backoff.fail(uid, now)
        self._standing[receiver] = ReceiverStanding.FAILING
        self._receiver_backoff.fail(receiver, now, at_least=retry_after_seconds)

    def written(self, uid: str) -> None:
        """Record that nothing is left to be done for a run: its state is written, or the run is gone."""
        self._in_flight.pop(uid, None)
        self._told.pop(uid, None)
        self._failed.pop(uid, None)
        self._run_backoff.succeed(uid)
        self._write_backoff.succeed(uid)
        self._api_backoff.succeed(None)

    def not_written(self, delivery: Delivery, now: float, *, refused: bool, at_least: float = 0.0) -> None:
        """Record that a call to the API server has failed. What was sent is not sent again.

        Args:
            delivery: what was tried.
            now: see `choose`.
            refused: whether only this run's write was refused.
            at_least: a `Retry-After`.
        """
        self._in_flight.pop(delivery.run.uid, None)
        if refused:
            self._write_backoff.fail(delivery.run.uid, now, at_least=at_least)
        else:
            self._api_backoff.fail(None, now, at_least=at_least)

    def put_back(self, delivery: Delivery) -> None:
        """Record that nothing was done for a run."""
        self._in_flight.pop(delivery.run.uid, None)

    def forget(self, runs: UndeliveredRuns) -> None:
        """Forget the runs that are gone, once there are many."""
        known = sum(map(len, runs.groups.values()))
        if max(len(self._failed), len(self._told)) <= 2 * known + 100:
            return
        kept = {uid for group in runs.groups.values() for uid in group} | self._in_flight.keys()
        self._failed = {uid: None for uid in self._failed if uid in kept}
        self._told = {uid: told for uid, told in self._told.items() if uid in kept}
        self._run_backoff.keep(kept)
        self._write_backoff.keep(kept)


def _first(runs: Iterator[Run]) -> list[Run]:
    return [run for run in (next(runs, None),) if run is not None]


def _why_give_up(run: Run, server_now: float) -> str:
    seconds = server_now - ended_at(run) / 1_000_000
    return f"it could not be delivered within {GIVE_UP_SECONDS // 3600} hours" if seconds > GIVE_UP_SECONDS else ""
