"""Whether a healthy definition is served in time beside others, with the pauses of `Admissions`."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.dispatcher.write import PROMPT_WRITERS, SLOW_WRITERS, Write
from app.domain.run import Phase, Run
from app.kube.errors import UnavailableError
from tests.support.selection import slow
from tests.unit.dispatcher.leaders import Leader
from tests.unit.dispatcher.runs import make_run

HANG_SECONDS = 4.0
STEP_SECONDS = 0.05
HANGING = [f"hanging{number}" for number in range(40)]


class Writers:
    """As many writers as a leader has, in the leader's time. A write that hangs has no answer for 4 s.

    Args:
        leader: whose writes.
        hangs: whether a write hangs; any other is answered at once.
    """

    def __init__(self, leader: Leader, hangs: Callable[[Write], bool]) -> None:
        self._leader = leader
        self._hangs = hangs
        self._in_flight: list[tuple[float, Write]] = []
        self.sent_at: dict[str, float] = {}

    def run_until(self, until: Callable[[], bool], *, at_most_seconds: float) -> float:
        """Let time pass until a condition holds; returns how long that took."""
        leader = self._leader
        began = leader.now_seconds
        while not until():
            assert leader.now_seconds - began <= at_most_seconds, "it takes too long"
            self._end_writes()
            leader.write_intent()
            self._begin_writes()
            leader.admissions.give_up_slow_writes(leader.slots)
            leader.now_seconds += STEP_SECONDS
        return leader.now_seconds - began

    def _end_writes(self) -> None:
        for ends_at, write in list(self._in_flight):
            if ends_at <= self._leader.now_seconds or self._leader.admissions.is_given_up(write):
                self._in_flight.remove((ends_at, write))
                self._leader.admissions.ended(write, UnavailableError("no answer in time"))

    def _begin_writes(self) -> None:
        while len(self._in_flight) < PROMPT_WRITERS + SLOW_WRITERS:
            write = self._leader.admissions.take_write(self._leader.slots)
            if write is None:
                return
            self.sent_at.setdefault(write.name, self._leader.now_seconds)
            if self._hangs(write):
                self._in_flight.append((self._leader.now_seconds + HANG_SECONDS, write))
            else:
                self._leader.admissions.ended(write, _admitted(self._leader, write))


def _admitted(leader: Leader, write: Write) -> Run:
    run = leader.admissions.runs.get(write.pin.uid)
    assert run is not None
    return replace(run, resource_version=run.resource_version + 1, phase=Phase.ADMITTED)


def _queue(leader: Leader, definition: str, number: int) -> str:
    run = make_run(number, definition=definition, version=2)
    leader.admissions.runs.put(run)
    return run.name


@pytest.mark.parametrize("queued_at_seconds", [0.0, 0.1, 0.5, 3.0, 4.1, *slow(30.0)])
def test_admissions__serve_a_definition_that_has_succeeded_beside_forty_that_hang(queued_at_seconds: float) -> None:
    """None of the forty was tried before. A run that is queued at any moment is sent within 250 ms."""
    leader = Leader(dict.fromkeys([*HANGING, "ok"], 50), [make_run(1, definition="ok")])
    writers = Writers(leader, lambda write: write.definition != "ok")
    writers.run_until(lambda: "run-0001" in writers.sent_at, at_most_seconds=1)
    for number in range(120):
        _queue(leader, HANGING[number % 40], 100 + number)
    queues_at = leader.now_seconds + queued_at_seconds
    writers.run_until(lambda: leader.now_seconds >= queues_at, at_most_seconds=60)
    name = _queue(leader, "ok", 999)
    writers.run_until(lambda: name in writers.sent_at, at_most_seconds=0.25)


def test_admissions__serve_a_new_definition_beside_forty_that_hang() -> None:
    """It was never tried, and they are known to fail."""
    runs = [make_run(100 * row + number, definition=name) for number, name in enumerate(HANGING) for row in range(3)]
    leader = Leader(dict.fromkeys([*HANGING, "new"], 50), runs)
    writers = Writers(leader, lambda write: write.definition != "new")
    writers.run_until(lambda: leader.now_seconds >= 12, at_most_seconds=12)
    name = _queue(leader, "new", 999)
    writers.run_until(lambda: name in writers.sent_at, at_most_seconds=0.25)


def test_admissions__try_forty_new_definitions_that_hang_without_waiting_for_each() -> None:
    """The forty-first is sent after seconds, not after ten hangs."""
    runs = [make_run(number, definition=name) for number, name in enumerate([*HANGING, "last"])]
    leader = Leader(dict.fromkeys([*HANGING, "last"], 1), runs)
    writers = Writers(leader, lambda write: write.definition != "last")
    writers.run_until(lambda: "run-0040" in writers.sent_at, at_most_seconds=HANG_SECONDS)


def test_admissions__serve_a_definition_beside_ten_that_begin_to_hang() -> None:
    """All have succeeded before, and each of the ten has several writes in flight when a webhook goes down."""
    names = HANGING[:10]
    leader = Leader(
        dict.fromkeys([*names, "ok"], 50), [make_run(n, definition=d) for n, d in enumerate([*names, "ok"])]
    )
    is_down = False
    writers = Writers(leader, lambda write: is_down and write.definition != "ok")
    writers.run_until(lambda: len(writers.sent_at) == 11, at_most_seconds=5)
    is_down = True
    for number in range(100):
        _queue(leader, names[number % 10], 100 + number)
    writers.run_until(lambda: len(writers.sent_at) >= 11 + PROMPT_WRITERS, at_most_seconds=5)
    name = _queue(leader, "ok", 999)
    writers.run_until(lambda: name in writers.sent_at, at_most_seconds=0.5)
