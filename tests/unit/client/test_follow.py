"""`slimfaas_jobs.follow`: whatever breaks, no line comes twice, and a line that is missing is told."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slimfaas_jobs.errors import NotFoundError, RefusedError, RunDeletedError, UnreachableError
from slimfaas_jobs.follow import LogFollower
from slimfaas_jobs.models import Run

Event = Literal["write", "long", "break", "retry", "evict", "rotate"]


@dataclass
class Attempt:
    """A pod of the run, and its log.

    Attributes:
        log: all that it has printed.
        rotated: how much of its start the kubelet has dropped.
        over: whether its container has ended.
    """

    log: bytes = b""
    rotated: int = 0
    over: bool = False


@dataclass
class World:
    """A run whose story goes on by one event whenever the follower reads on or pauses.

    Attributes:
        events: what is still to happen.
        attempts: all pods so far.
        gone: how many of the first of them are gone.
        gaps: what the follower told.
        lines: how many lines were printed.
        breaks_at_once: whether the open log breaks.
        deleted: whether the run is gone at the end.
    """

    events: list[Event]
    attempts: list[Attempt] = field(default_factory=list)
    gone: int = 0
    gaps: list[str] = field(default_factory=list)
    lines: int = 0
    breaks: bool = False
    deleted: bool = False

    def follow(self, only: int | None = None, tail_lines: int | None = None) -> bytes:
        """Follow the run to its end."""
        follower = LogFollower(
            self.open,
            self.run,
            end=None,
            on_update=None,
            on_gap=self.gaps.append,
            counts_attempts=True,
            sleep=lambda _: self.step(),
        )
        return b"".join(follower.follow(only, tail_lines))

    @property
    def has_ended(self) -> bool:
        """Whether the story is over."""
        return not self.events and bool(self.attempts)

    def run(self) -> Run:
        """Return the run, as the service would."""
        if self.deleted and self.has_ended:
            raise NotFoundError(404, "there is no such run")
        status = "Succeeded" if self.has_ended else "Running" if self.attempts else "Queued"
        return Run(definition="a", id="b", name="c", status=status, attempts=len(self.attempts))

    def step(self) -> None:
        """Let one thing happen."""
        if not self.attempts:
            self.attempts.append(Attempt())
            return
        event = self.events.pop(0) if self.events else "end"
        last = self.attempts[-1]
        if event in ("write", "long"):
            text = b"x" * (5000 if event == "long" else 3)
            last.log += b"%d %s\n" % (self.lines, text)
            self.lines += 1
        elif event == "break":
            self.breaks = True
        elif event == "rotate":
            last.rotated = last.log.rfind(b"\n", 0, max(len(last.log) - 1, 0)) + 1
            self.breaks = True
        else:
            last.over = True
            if event == "evict":
                self.gone = len(self.attempts)
            if event != "end":
                self.attempts.append(Attempt())

    def open(self, number: int, *, follow: bool) -> "Log":
        """Open a log, or refuse as the service does."""
        existing = self.attempts[self.gone :]
        if not existing:
            raise RefusedError(409, "the run has no pod yet")
        if number > len(existing):
            raise NotFoundError(404, f"the run has no attempt {number}; attempts that still exist: {len(existing)}")
        return Log(self, existing[number - 1], follow=follow)


@dataclass
class Log:
    """An open log of the world."""

    world: World
    attempt: Attempt
    follow: bool

    def pieces(self) -> Iterator[bytes]:
        """Yield what the service would."""
        self.world.breaks = False
        sent = self.attempt.rotated
        while True:
            if len(self.attempt.log) > sent:
                piece = self.attempt.log[sent : sent + 4000]
                sent += len(piece)
                yield piece
            elif not self.follow or self.attempt.over:
                return
            else:
                self.world.step()
            if self.world.breaks:
                self.world.breaks = False
                raise UnreachableError("it broke")

    def close(self) -> None:
        """Do nothing."""


EVENTS: st.SearchStrategy[Event] = st.sampled_from(["write", "long", "break", "retry", "evict", "rotate"])


@given(st.lists(EVENTS, max_size=30))
@example(["write", "long", "rotate", "long"])  # the last bytes that were read come twice
def test_follow__shows_each_line_once_and_tells_where_some_are_missing(events: list[Event]) -> None:
    world = World(list(events))
    shown = world.follow()
    printed = b"".join(attempt.log for attempt in world.attempts)
    numbers = [int(line.split()[0]) for line in shown.splitlines()]
    assert numbers == sorted(set(numbers))
    if not world.gaps and "evict" not in events:
        assert shown == printed


@given(st.lists(st.sampled_from(["write", "long", "break", "retry"]), max_size=30))
def test_follow__shows_all_while_no_part_of_a_log_is_dropped(events: list[Event]) -> None:
    world = World(list(events))
    assert world.follow() == b"".join(attempt.log for attempt in world.attempts)
    assert world.gaps == []


def test_follow__pod_that_is_replaced__shows_the_log_of_its_replacement() -> None:
    """The replacement gets the number of the pod that is gone."""
    world = World(["write", "evict", "write", "write", "evict", "write"])
    assert [line.split()[0] for line in world.follow().splitlines()] == [b"0", b"1", b"2", b"3"]


def test_follow__log_that_is_rotated__goes_on_behind_the_last_line_that_was_read() -> None:
    """The kubelet's new file begins with lines that were read already."""
    world = World(["write", "write", "rotate", "write"])
    assert world.follow() == world.attempts[0].log
    assert world.gaps == []


def test_follow__lines_that_are_rotated_away_unread__are_told_as_missing() -> None:
    world = World(["write", "break", "write"])
    world.step()
    log = Attempt(log=b"1 new\n2 new\n")
    follower_sees = world.open

    def rotate(number: int, *, follow: bool) -> Log:
        opened = follower_sees(number, follow=follow)
        if not world.events:  # after the break
            world.attempts[0].log, world.attempts[0].over = log.log, True
        return opened

    world.open = rotate  # type: ignore[method-assign]
    assert world.follow() == b"0 xxx\n1 new\n2 new\n"
    assert len(world.gaps) == 1


@given(st.integers(1, 4), st.lists(st.sampled_from(["write", "long", "break", "retry"]), max_size=12))
def test_follow__tail__begins_with_the_last_lines_of_the_last_attempt(lines: int, events: list[Event]) -> None:
    before = [Attempt(log=b"old\n", over=True), Attempt(log=b"a 1\nb 2\nc 3\n")]
    world = World(list(events), attempts=before, lines=4)
    shown = world.follow(tail_lines=lines)
    printed = b"".join(attempt.log for attempt in world.attempts[1:])
    assert shown == b"".join(printed.splitlines(keepends=True)[max(0, 3 - lines) :])


def test_follow__tail_of_a_run_without_a_log__begins_with_its_first_line() -> None:
    world = World(["write", "retry", "write"])
    assert world.follow(tail_lines=1) == b"0 xxx\n1 xxx\n"


def test_follow__one_attempt__ends_with_it() -> None:
    world = World(["write", "retry", "write"])
    assert world.follow(only=1) == b"0 xxx\n"


def test_follow__attempt_that_there_never_was__is_refused() -> None:
    with pytest.raises(NotFoundError):
        World(["write"]).follow(only=3)


def test_follow__run_that_is_deleted__is_told() -> None:
    with pytest.raises(RunDeletedError):
        World(["write"], deleted=True).follow()


def test_follow__run_that_has_ended_without_a_log__says_why() -> None:
    world = World([], attempts=[Attempt(over=True)], gone=1)
    with pytest.raises(RefusedError):
        world.follow()
