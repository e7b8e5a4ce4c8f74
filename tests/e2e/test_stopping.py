"""The service is told to end: whoever it still answers, and whatever breaks in, the next dispatcher need not wait."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any

import pytest
from kubernetes import client

from app.kube import labels
from tests.e2e.callers import Replica
from tests.http.clients import RawClient
from tests.integration.dispatching import until
from tests.support.faults import Fault, FaultProxy, Hold, Request
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

DEFINITIONS: dict[str, Any] = {"echo": {"Image": "busybox:1", "Visibility": "Public"}}


@pytest.fixture
def leases(server: Server, namespace: str) -> "Leases":
    """The dispatcher's Lease."""
    return Leases(server, namespace)


class Leases:
    """Tells who dispatches."""

    def __init__(self, server: Server, namespace: str) -> None:
        self._api = client.CoordinationV1Api(server.admin)
        self._namespace = namespace

    def holder(self) -> str | None:
        """Who holds the Lease; empty: it was given back; `None`: there is none yet."""
        leases = self._api.list_namespaced_lease(self._namespace).items
        holders = [lease.spec.holder_identity or "" for lease in leases if lease.metadata.name == labels.LEASE_NAME]
        return holders[0] if holders else None


@contextmanager
def trickling(service: ServiceProcess) -> Iterator[None]:
    """A client that sends its body, which is never complete, a byte at a time."""
    stop = threading.Event()
    with RawClient(service.port) as wire:
        wire.send_request("POST", "/job/echo", "Content-Length: 10000", body=b"{")

        def send() -> None:
            with suppress(OSError):
                while not stop.wait(0.2):
                    wire.send(b" ")

        client_thread = threading.Thread(target=send)
        client_thread.start()
        try:
            yield
        finally:
            stop.set()
            client_thread.join()


class Knocker:
    """Clients that connect, call and leave, all the time, while the context lasts."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._threads = [threading.Thread(target=self._knock) for _ in range(8)]

    def await_answer(self) -> None:
        """Return once a call has been answered that is under way, or comes later."""
        self._answered.clear()
        assert self._answered.wait(DEADLINE_SECONDS)

    def _knock(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError, HTTPException), RawClient(self._service.port) as wire:
                wire.send_request("GET", "/health", "Connection: close").answer()
                self._answered.set()

    def __enter__(self) -> "Knocker":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def boots(service: ServiceProcess) -> list[int]:
    """The process ids of the workers that there have been, the last one last."""
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)\n", service.log_text)]


def gives_back(request: Request) -> bool:
    return request.method == "PUT" and json.loads(request.body)["spec"]["holderIdentity"] == ""


def test_a_client_that_takes_its_time_does_not_keep_the_lease(replica: Replica, leases: Leases) -> None:
    """A worker may be killed before it has ended such a call: the lease is given back while it is busy with it."""
    with replica(DEFINITIONS) as service:
        until(leases.holder)
        with trickling(service):
            service.send_signal(signal.SIGTERM)
            until(lambda: leases.holder() == "")
            assert "Worker exiting" not in service.log_text


@pytest.mark.slow
def test_a_worker_that_is_told_to_quit_ends_whatever_it_is_doing(replica: Replica) -> None:
    """Also in the middle of handing a connection to a thread, whose locks it holds then."""
    with replica(DEFINITIONS, SLIMFAAS_DISPATCHER="off") as service, Knocker(service) as knocker:
        for count in range(1, 21):
            until(lambda count=count: len(boots(service)) == count)
            knocker.await_answer()
            os.kill(boots(service)[-1], signal.SIGQUIT)
        until(lambda: len(boots(service)) == 21)


def test_a_second_signal_does_not_make_a_worker_tidy_up(server: Server, replica: Replica, leases: Leases) -> None:
    """What it breaks into is left as it is: taking an interpreter apart copies the memory that workers share."""
    hold = Hold()
    with (
        FaultProxy(server.url, ca=server.ca_file) as proxy,
        replica(DEFINITIONS, url=proxy.url, PYTHONVERBOSE="1") as service,
    ):
        until(leases.holder)
        proxy.add(Fault(hold, when=gives_back))
        (worker,) = boots(service)
        os.kill(worker, signal.SIGQUIT)
        hold.wait_held()
        os.kill(worker, signal.SIGQUIT)
        until(lambda: len(boots(service)) == 2)  # the first has ended
        assert "# cleanup" not in service.log_text, "what the interpreter says when it takes itself apart"
        hold.release()
