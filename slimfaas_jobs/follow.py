"""Following a log through broken connections, restarts of the service and retries of the run.

The service numbers the attempts whose pods still exist, from 1. Each attempt is followed alone, so that it is known to
which one each byte belongs. After a break the same attempt is opened again, and as many bytes are skipped as were read.
A kubelet that has rotated a log begins it later: then the last bytes that were read are looked for.
"""

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from slimfaas_jobs.errors import (
    NotFoundError,
    RefusedError,
    RequestError,
    RunDeletedError,
    UnreachableError,
    WaitTimeoutError,
)
from slimfaas_jobs.models import Run

_MARK_BYTES = 4096
"""How many bytes at the start and at the end of what was read identify a log."""

_POLL_SECONDS = (1.0, 3.0)
_NO_ATTEMPT = 2**31 - 1
"""A number that no attempt has: the refusal says how many there are."""

_MAX_TAIL_BYTES = 4 * 1024 * 1024
_CONFLICT = 409
_EXISTING = re.compile(r"attempts that still exist: (\d+)")
_NOT_KEPT = "no longer kept"
_NO_CONTAINER = "no such container"


class Log(Protocol):
    """An open log; a context."""

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes as they arrive."""

    def close(self) -> None:
        """Close it."""


class OpenLog(Protocol):
    """Opens the log of an attempt."""

    def __call__(self, number: int, *, follow: bool) -> Log:
        """Return the open log."""


@dataclass(slots=True)
class _Position:
    """How far the log of an attempt has been read.

    Attributes:
        count: the number of bytes, from the start of the log as it was served last.
        head: the first of them.
        tail: the last of them.
    """

    count: int = 0
    head: bytes = b""
    tail: bytes = b""

    def add(self, piece: bytes) -> None:
        """Go on by some bytes."""
        if self.count < _MARK_BYTES:
            self.head += piece[: _MARK_BYTES - self.count]
        self.count += len(piece)
        self.tail = (self.tail + piece[-_MARK_BYTES:])[-_MARK_BYTES:]


class _RotatedError(Exception):
    """The log does not begin as it did before."""


class LogFollower:
    """Follows the log of one run.

    Args:
        open_log: opens the log of an attempt.
        get: reads the run.
        end: when to give up, by the monotonic clock; `None`: never.
        on_update: called with the run while it has no log.
        on_gap: called with a text where a part of the log is missing.
        counts_attempts: whether the run's number of attempts is that of the container that is followed.
        sleep: pauses for some seconds.
    """

    def __init__(
        self,
        open_log: OpenLog,
        get: Callable[[], Run],
        *,
        end: float | None,
        on_update: Callable[[Run], None] | None,
        on_gap: Callable[[str], None] | None,
        counts_attempts: bool,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open = open_log
        self._read_run = get
        self._end = end
        self._on_update = on_update or (lambda _: None)
        self._on_gap = on_gap or (lambda _: None)
        self._counts_attempts = counts_attempts
        self._sleep = sleep
        self._known: Run | None = None
        self._gone_at_start: int | None = None
        self._gone = 0
        self._existing = 0
        self._has_opened = False
        self._pause_seconds = _POLL_SECONDS[0]

    def follow(self, only: int | None, tail_lines: int | None = None) -> Iterator[bytes]:
        """Yield the log of one attempt, or of all that there still are until the run has ended.

        Args:
            only: the attempt; `None`: all.
            tail_lines: begin with the last attempt, or `only`, and with this many lines of what it has printed so far;
                `None`: begin with the first one.

        Raises:
            RefusedError: the run has ended, and there is no log.
        """
        self._get()
        self._count_gone()
        attempt, position = only or 1, _Position()
        if tail_lines is not None:
            attempt = only or max(1, self._existing)
            yield self._read_tail(attempt, tail_lines, position)
        while True:
            exists = yield from self._follow_attempt(attempt, position, must_exist=only is not None)
            if only is not None or not exists:
                return
            attempt, position = attempt + 1, _Position()
            self._count_gone()

    def _read_tail(self, attempt: int, lines: int, position: _Position) -> bytes:
        """Read on to the end of what an attempt has printed so far; returns its last lines.

        The service could return them alone, but then nobody would know where they stand in the log.
        """
        kept = b""
        try:
            with closing(self._open(attempt, follow=False)) as log:
                for piece in log.pieces():
                    position.add(piece)
                    kept = _last_lines(kept + piece, lines)
        except (NotFoundError, RefusedError):
            return b""  # there is none yet
        return kept

    def _follow_attempt(self, attempt: int, position: _Position, *, must_exist: bool) -> Generator[bytes, None, bool]:
        """Yield the log of an attempt to its end.

        Args:
            attempt: its number, which pods that have gone since the start do not change.
            position: how far it was read.
            must_exist: whether it is an error if there is no such attempt.

        Returns:
            Whether another attempt may follow.
        """
        while True:
            if attempt <= self._gone:
                self._on_gap(f"the rest of the log of attempt {attempt} is gone with its pod")
                return True
            log = self._open_attempt(attempt, must_exist=must_exist)
            if isinstance(log, bool):
                return log
            try:
                with closing(log):
                    for piece in _read_on(log, position):
                        yield piece
                        self._check_time()
                return True
            except _RotatedError:
                self._find_position(attempt - self._gone, position)
            except UnreachableError:
                self._pause()
                self._count_gone()

    def _open_attempt(self, attempt: int, *, must_exist: bool) -> Log | bool:
        """Open the log of an attempt, once there is one.

        Returns:
            The log; or, if there is none, whether another attempt may follow.
        """
        had_ended = False
        while True:
            self._check_time()
            try:
                log = self._open(attempt - self._gone, follow=True)
            except (NotFoundError, RefusedError) as refusal:
                # There will be no log that is missing after the run has ended.
                over = had_ended or _NOT_KEPT in refusal.detail
                if _is_final(refusal) or (over and (must_exist or (had_ended and not self._has_opened))):
                    raise
                if over:
                    return not had_ended
                had_ended = self._await_change(refusal)
            else:
                self._has_opened = True
                self._pause_seconds = _POLL_SECONDS[0]
                return log

    def _await_change(self, refusal: RequestError) -> bool:
        """Wait a little for a log; returns at once with `True` if the run has ended."""
        run = self._get()
        if run.has_ended:
            return True
        self._on_update(run)
        self._pause()
        if isinstance(refusal, NotFoundError):
            self._count_gone()
        return False

    def _find_position(self, number: int, position: _Position) -> None:
        """Find the last bytes that were read in a log that begins later now."""
        head, window, base, found, is_sure = b"", b"", 0, 0, True
        try:
            with closing(self._open(number, follow=False)) as log:
                for piece in log.pieces():
                    head += piece[: max(0, _MARK_BYTES - len(head))]
                    window += piece
                    at = window.rfind(position.tail)
                    if at >= 0:
                        is_sure = not found and window.find(position.tail) == at
                        found = base + at + len(position.tail)
                    kept = min(len(window), len(position.tail) - 1)
                    base += len(window) - kept
                    window = window[len(window) - kept :]
        except (UnreachableError, NotFoundError, RefusedError):
            return  # it is looked for again, once the log is open again
        found = found or _overlap(position.tail, head)
        if not found or not is_sure:  # a log that repeats itself: rather leave lines out than show them twice
            self._on_gap("lines may be missing here: the log was rotated while the connection was broken")
        if not found:
            position.tail = b""
        position.count, position.head = found, head[:found]

    def _count_gone(self) -> None:
        """Find out how many attempts have gone since the start, by which the numbers of the others have shifted."""
        gone = self._measure_gone()
        if not self._counts_attempts:
            return
        if self._gone_at_start is None:
            self._gone_at_start = gone
        self._gone = max(self._gone, gone - self._gone_at_start)

    def _measure_gone(self) -> int:
        attempts = self._get().attempts
        while True:
            try:
                self._open(_NO_ATTEMPT, follow=False).close()
                existing = attempts
            except (NotFoundError, RefusedError) as refusal:
                # Without a pod the service says why there is none, and not how many attempts there are.
                found = _EXISTING.search(refusal.detail)
                existing = int(found[1]) if found else 0 if refusal.status == _CONFLICT else attempts
            before, attempts = attempts, self._get().attempts
            if attempts == before:
                self._existing = existing
                return max(0, attempts - existing)
            self._check_time()

    def _get(self) -> Run:
        """Read the run.

        Raises:
            RunDeletedError: it is there no more.
        """
        try:
            self._known = self._read_run()
        except NotFoundError as error:
            if self._known is None:
                raise
            known = self._known
            raise RunDeletedError(f"{known.definition}/{known.id} was deleted before it ended", known) from error
        except WaitTimeoutError as error:
            raise WaitTimeoutError(str(error), self._known) from error
        return self._known

    def _check_time(self) -> None:
        if self._end is not None and time.monotonic() >= self._end:
            raise WaitTimeoutError("the time to follow the log is over", self._known)

    def _pause(self) -> None:
        left = self._pause_seconds if self._end is None else self._end - time.monotonic()
        self._sleep(max(0.0, min(self._pause_seconds, left)))
        self._pause_seconds = min(self._pause_seconds * 1.1, _POLL_SECONDS[1])


def _last_lines(text: bytes, lines: int) -> bytes:
    """Return the last lines of a text, and of lines that are too long their end."""
    start = len(text) - text.endswith(b"\n")
    for _ in range(lines):
        start = text.rfind(b"\n", 0, start)
        if start < 0:
            break
    return text[start + 1 :][-_MAX_TAIL_BYTES:]


def _overlap(tail: bytes, head: bytes) -> int:
    """Return how many bytes at the end of what was read are the start of a log that begins at one of its lines."""
    for start in range(max(0, len(tail) - len(head)), len(tail)):
        if tail[start - 1 : start] in (b"", b"\n") and head.startswith(tail[start:]):
            return len(tail) - start
    return 0


def _is_final(refusal: RequestError) -> bool:
    """Whether a refusal says neither that there is no log yet nor that there is no such attempt."""
    if isinstance(refusal, NotFoundError):
        return _NO_CONTAINER in refusal.detail
    return refusal.status != _CONFLICT


def _read_on(log: Log, position: _Position) -> Iterator[bytes]:
    """Yield what a log has beyond a position, which goes on with it.

    Raises:
        _RotatedError: the log begins otherwise than before.
    """
    target, seen = position.count, 0
    for piece in log.pieces():
        rest = piece
        if seen < target:
            expected = position.head[seen : seen + len(piece)]
            if piece[: len(expected)] != expected:
                raise _RotatedError
            rest = piece[target - seen :]
            seen += len(piece) - len(rest)
        if rest:
            position.add(rest)
            yield rest
