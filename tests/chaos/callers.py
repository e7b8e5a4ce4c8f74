"""Callers of the service that follow docs/http.md and record the responses they get."""

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
"""The delay before a retry where the response has no Retry-After."""

_NOTHING_DONE = ("has not been stored", "nothing has been done")
_IN_DOUBT = "may or may not have been stored"


@dataclass
class CallRecord:
    """The responses that the caller of one mark got, over all its attempts.

    Attributes:
        accepted: the run names of the 202 responses, one for each response.
        asked_at: by these names, `time.monotonic()` when the last request with such a response was sent.
        refused: how often nothing was stored, according to the response or because no connection could be opened.
        in_doubt: how often it is unknown whether the run was stored: the response says so, or there was none.
        replayed: how many of the accepted ones were stored by an earlier attempt.
        wrong: unexpected responses.
    """

    mark: str
    definition: str
    keyed: bool
    accepted: list[str] = field(default_factory=list)
    asked_at: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    in_doubt: int = 0
    replayed: int = 0
    wrong: list[str] = field(default_factory=list)


class Callers:
    """Sends the requests of a schedule, each until it is accepted. A context manager; entering it starts the requests.

    A request with an idempotency key is repeated after any failure. One without a key is repeated only if certainly
    nothing was stored; otherwise its caller abandons it and sends another one with its own mark.
    """

    def __init__(self, urls: Sequence[str], calls: Sequence[Call]) -> None:
        self._urls = urls
        self._calls = calls
        self._pool = ThreadPoolExecutor(_CALLERS, thread_name_prefix="caller")
        self._others = ThreadPoolExecutor(_CALLERS, thread_name_prefix="other-caller")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._records: list[CallRecord] = []
        self._futures: list[Future[None]] = []
        self._done = 0

    def __enter__(self) -> Callers:
        began = time.monotonic()
        self._futures = [self._pool.submit(self._call, index, call, began) for index, call in enumerate(self._calls)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._others.shutdown()

    @property
    def records(self) -> list[CallRecord]:
        """The record of each caller; complete once all calls are `done`.

        Raises:
            Exception: the error that a caller's thread ended with.
        """
        for future in self._futures:
            if future.done() and not future.cancelled():
                future.result()
        with self._lock:
            return list(self._records)

    @property
    def done(self) -> int:
        """The number of accepted calls."""
        return self._done

    def _call(self, index: int, call: Call, began: float) -> None:
        self._stop.wait(began + call.at_seconds - time.monotonic())
        order = self._order(index)
        record = self._new_record(call, call.mark)
        if call.twice:
            other = self._others.submit(self._repeat, call, record, self._order(index + 1))
            self._repeat(call, record, order)
            other.result()
        else:
            for number in range(1, 1000):
                if self._repeat(call, record, order) or self._stop.is_set():
                    break
                record = self._new_record(call, f"{call.mark}-{number}")
        if record.accepted:
            with self._lock:
                self._done += 1

    def _order(self, first: int) -> Iterator[int]:
        """Yield the replicas' indexes in turn, endlessly."""
        return islice(cycle(range(len(self._urls))), first % len(self._urls), None)

    def _new_record(self, call: Call, mark: str) -> CallRecord:
        record = CallRecord(mark, call.definition, call.keyed)
        with self._lock:
            self._records.append(record)
        return record

    def _repeat(self, call: Call, record: CallRecord, order: Iterator[int]) -> bool:
        """Call until the run is accepted or must be abandoned; return whether it is accepted."""
        while not self._stop.is_set():
            doubts = record.in_doubt
            accepted, pause_seconds = self._try(call, record, self._urls[next(order)])
            if accepted or (not call.keyed and record.in_doubt > doubts):
                return accepted
            self._stop.wait(pause_seconds)
        return False

    def _try(self, call: Call, record: CallRecord, url: str) -> tuple[bool, float]:
        """Make one call; return whether it was accepted, and the delay before the next attempt."""
        variables = {MARK_VARIABLE: record.mark, "TESTNODE_RUNS_FOR": f"{call.runs_for_ms}ms"}
        body = {
            "DependsOn": list(call.depends_on),
            "Environments": [{"Name": name, "Value": value} for name, value in variables.items()],
        }
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": record.mark} if call.keyed else {})
        asked_at = time.monotonic()
        try:
            response = urllib3.request(
                "POST",
                f"{url}/job/{call.definition}",
                body=json.dumps(body),
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            with self._lock:
                record.refused += 1
            return False, _PAUSE_SECONDS
        except (urllib3.exceptions.HTTPError, OSError):
            with self._lock:
                record.in_doubt += 1
            return False, _PAUSE_SECONDS
        return self._note_response(response, record, asked_at)

    def _note_response(
        self, response: urllib3.BaseHTTPResponse, record: CallRecord, asked_at: float
    ) -> tuple[bool, float]:
        text = response.data.decode(errors="replace")
        with self._lock:
            if response.status == 202:
                name = json.loads(text)["Name"]
                record.accepted.append(name)
                record.asked_at[name] = max(asked_at, record.asked_at.get(name, asked_at))
                record.replayed += "Idempotency-Replayed" in response.headers
                return True, 0.0
            if response.status == 429 or (response.status == 503 and any(words in text for words in _NOTHING_DONE)):
                record.refused += 1
            elif response.status == 503 and _IN_DOUBT in text:
                record.in_doubt += 1
            else:
                record.in_doubt += 1
                record.wrong.append(f"{response.status}: {text[:300]}")
        return False, float(response.headers.get("Retry-After", _PAUSE_SECONDS))
