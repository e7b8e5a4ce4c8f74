"""Clients that send their requests slowly hold nothing that others need."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import pytest
import requests

from app.server.request_lanes import SHORT_REQUEST_THREADS
from app.settings import Settings
from tests.http.clients import CONTINUE, RawClient
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

THREADS = SHORT_REQUEST_THREADS + Settings(configuration="{}").max_streams

LARGE = json.dumps({"Args": ["a" * 64_000]})
"""A body that needs memory of the budget, too."""


@contextmanager
def slow_senders(service: ServiceProcess, count: int, length: int) -> Iterator[list[RawClient]]:
    """Hold so many connections whose bodies never end, although a byte of each comes every second."""
    stop = Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(service.port)) for _ in range(count)]
        for client in clients:
            client.send_request("POST", "/job/public", f"Content-Length: {length}", body=b" ")

        def go_on() -> None:
            while not stop.wait(1):
                for client in clients:
                    try:
                        client.send(b" ")
                    except OSError:  # the service has ended it
                        continue

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(go_on)
            try:
                yield clients
            finally:
                stop.set()
                sending.result()


@pytest.mark.slow
def test_slow_senders__hold_no_thread(live: ServiceProcess) -> None:
    """More than there are threads. None of them has been ended when the others have been served."""
    with slow_senders(live, THREADS + 20, 1000) as clients:
        assert live.post("/job/public").status_code == 202
        assert not any(client.has_answer() for client in clients)


@pytest.mark.slow
def test_slow_senders__hold_no_memory_that_others_need(live: ServiceProcess) -> None:
    """More large bodies than may be received at once. A further one waits for those that have had their time."""
    with slow_senders(live, 20, 65_000):
        response = requests.post(f"{live.url}/job/public?dryRun=true", data=LARGE, timeout=DEADLINE_SECONDS)
        assert response.status_code == 200


def test_expect__gets_one_continue_before_the_body(live: ServiceProcess) -> None:
    """Whether the body arrives late or together with the head."""
    with RawClient(live.port) as client:
        for _ in range(2):
            client.send_request("POST", "/job/public?dryRun=true", "Content-Length: 2", "Expect: 100-continue")
            assert client.receive(len(CONTINUE)) == CONTINUE
            answer = client.send(b"{}").answer("POST")
            assert answer.status == 200
            answer.read()


def test_requests__that_are_sent_together_are_served_one_by_one(live: ServiceProcess) -> None:
    """The second one begins in the bytes of the first, and its end comes late."""
    with RawClient(live.port) as client:
        client.send_request("POST", "/job/unknown", body=b"{}").send(
            b"POST /job/public?dryRun=true HTTP/1.1\r\nHost: a\r\n"
        )
        first = client.answer("POST")
        assert (first.status, bool(first.read())) == (404, True)
        second = client.send(b"Transfer-Encoding: chunked\r\n\r\n2\r\n{", b"}\r\n0\r\n\r\n").answer("POST")
        assert second.status == 200
