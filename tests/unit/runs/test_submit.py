"""What a submitter does before it calls the API server."""

import threading
from contextlib import suppress
from typing import Any, cast
from unittest.mock import create_autospec

import pytest

from app.kube.client import NamespacedClient
from app.runs import submit
from app.runs.limits.queue_limiter import QueueLimiter
from schemas.definition import Definition
from schemas.documents import NotJson
from tests.support.waiting import DEADLINE_SECONDS

KIB = 1024


@pytest.mark.parametrize(("size", "most"), [(8 * KIB, 4), (8 * KIB + 1, 1)])
def test_submit__reads_one_large_body_at_a_time(monkeypatch: pytest.MonkeyPatch, size: int, most: int) -> None:
    """Two dozen of the largest bodies at once would take more memory than a pod has to spare."""
    reading, at_once, counted = 0, 0, threading.Lock()
    together = threading.Barrier(4, timeout=DEADLINE_SECONDS if most == 4 else 0.1)

    def read(_body: bytes) -> Any:
        nonlocal reading, at_once
        with counted:
            reading += 1
            at_once = max(at_once, reading)
        with suppress(threading.BrokenBarrierError):
            together.wait()
        with counted:
            reading -= 1
        raise NotJson("")

    monkeypatch.setattr(submit, "read_request", read)
    client = cast(NamespacedClient, create_autospec(NamespacedClient))
    submitter = submit.Submitter(client, cast(QueueLimiter, None))

    def call() -> None:
        with suppress(NotJson):
            submitter.submit(Definition("fib", "busybox:1"), b" " * size)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert at_once == most
