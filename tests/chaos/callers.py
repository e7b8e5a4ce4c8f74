"""Callers of the service, who do as docs/http.md tells them, and note what they were told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from types import TracebackType

import urllib3

from tests.chaos.history import MARK_VARIABLE
from tests.chaos.schedule import Call

_CALLERS = 32
_TIMEOUT = urllib3.Timeout(connect=2.0, read=20.0)
_PAUSE_SECONDS = 0.2
"""Between two tries, where the answer doesn't say."""

_NOTHING_DONE = ("has not been stored", "nothing has been done")
_IN_DOUBT = "may or may not have been stored"


@dataclass
class Told:
    """What the caller of one mark was told, over all its tries.

    Attributes:
        accepted: the names of the runs that 202 was answered with; once for each 202.
        refused: how often it was told that nothing was stored, or could not reach anybody to tell.
        in_doubt: how often nobody could say whether the run was stored: the answer says so, or there was none.
        replayed: how many of the accepted ones were stored by an earlier try.
        wrong: answers that there should not be.
    """

    mark: str
    definition: str
    keyed: bool
    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    in_doubt: int = 0
    replayed: int = 0
    wrong: list[str] = field(default_factory=list)


class Authorizer:
    """Make the calls of a schedule, each until it is accepted; a context manager, in which they begin.

    A call with a key is repeated after whatever went wrong. One without is repeated only where nothing was stored for
    certain; else its caller leaves it, and makes another one with a mark of its own.
    """

    def __init__(self, urls: Sequence[str], calls: Sequence[Call]) -> None:
        self._urls = urls
        self._calls = calls
        self._pool = ThreadPoolExecutor(_CALLERS, thread_name_prefix="caller")
        self._others = ThreadPoolExecutor(_CALLERS, thread_name_prefix="other-caller")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._futures: list[Future[None]] = []
        self._done = 0

    def __enter__(self) -> Authorizer:
        began = time.monotonic()
        self._futures = [self._pool.submit(self._call, place, call, began) for place, call in enumerate(self._calls)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._others.shutdown()

    @property
    def told(self) -> list[Told]:
        """What each caller was told; complete once all calls are `done`.

        Raises:
            Exception: whatever a caller failed with.
        """
        for future in self._futures:
            if future.done() and not future.cancelled():
                future.result()
        with self._lock:
            return list(self._told)

    @property
    def done(self) -> int:
        """How many calls were accepted."""
        return self._done

    def _call(self, place: int, call: Call, began: float) -> None:
        self._stop.wait(began + call.at_seconds - time.monotonic())
        order = self._order(place)
        told = self._begin(call, call.mark)
        if call.twice:
            other = self._others.submit(self._repeat, call, told, self._order(place + 1))
            self._repeat(call, told, order)
            other.result()
        else:
            for number in range(1, 1000):
                if self._repeat(call, told, order) or self._stop.is_set():
                    break
                told = self._begin(call, f"{call.mark}-{number}")
        if told.accepted:
            with self._lock:
                self._done += 1

    def _order(self, first: int) -> Iterator[int]:
        """The replicas in turn, without end."""
        return islice(cycle(range(len(self._urls))), first % len(self._urls), None)

    def _begin(self, call: Call, mark: str) -> Told:
        told = Told(mark, call.definition, call.keyed)
        with self._lock:
            self._told.append(told)
        return told

    def _repeat(self, call: Call, told: Told, order: Iterator[int]) -> bool:
        """Call until the run is accepted, or must be left; whether it is accepted."""
        while not self._stop.is_set():
            doubts = told.in_doubt
            accepted, pause_seconds = self._try(call, told, self._urls[next(order)])
            if accepted or (not call.keyed and told.in_doubt > doubts):
                return accepted
            self._stop.wait(pause_seconds)
        return False

    def _try(self, call: Call, told: Told, url: str) -> tuple[bool, float]:
        """Make one call; whether it was accepted, and how long to wait before the next one."""
        variables = {MARK_VARIABLE: told.mark, "TESTNODE_RUNS_FOR": f"{call.runs_for_ms}ms"}
        body = {
            "DependsOn": list(call.depends_on),
            "Environments": [{"Name": name, "Value": value} for name, value in variables.items()],
        }
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": told.mark} if call.keyed else {})
        try:
            answer = urllib3.request(
                "POST",
                f"{url}/job/{call.definition}",
                body=json.dumps(body),
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            with self._lock:
                told.refused += 1
            return False, _PAUSE_SECONDS
        except (urllib3.exceptions.HTTPError, OSError):
            with self._lock:
                told.in_doubt += 1
            return False, _PAUSE_SECONDS
        return self._take(answer, told)

    def _take(self, answer: urllib3.BaseHTTPResponse, told: Told) -> tuple[bool, float]:
        text = answer.data.decode(errors="replace")
        with self._lock:
            if answer.status == 202:
                told.accepted.append(json.loads(text)["Name"])
                told.replayed += "Idempotency-Replayed" in answer.headers
                return True, 0.0
            if answer.status == 429 or (answer.status == 503 and any(words in text for words in _NOTHING_DONE)):
                told.refused += 1
            elif answer.status == 503 and _IN_DOUBT in text:
                told.in_doubt += 1
            else:
                told.in_doubt += 1
                told.wrong.append(f"{answer.status}: {text[:300]}")
        return False, float(answer.headers.get("Retry-After", _PAUSE_SECONDS))
