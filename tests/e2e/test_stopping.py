"""Shutdown of the service: the Lease is released whatever the workers are doing."""

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

from tests.e2e.callers import Replica
from tests.http.clients import RawClient
from tests.integration.dispatching import until
from tests.support.faults import Fault, FaultProxy, Hold, Request
from tests.support.leases import DispatcherLease
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

DEFINITIONS: dict[str, Any] = {"echo": {"Image": "busybox:1", "Visibility": "Public"}}


@pytest.fixture
def lease(server: Server, namespace: str) -> DispatcherLease:
    """Provide the dispatcher's Lease."""
    return DispatcherLease(server, namespace)


@contextmanager
def trickling(service: ServiceProcess) -> Iterator[None]:
    """Send a request whose body never completes, byte by byte."""
    stop = threading.Event()
    with RawClient(service.port) as client:
        client.send_request("POST", "/job/echo", "Content-Length: 10000", body=b"{")

        def send() -> None:
            with suppress(OSError):
                while not stop.wait(0.2):
                    client.send(b" ")

        client_thread = threading.Thread(target=send)
        client_thread.start()
        try:
            yield
        finally:
            stop.set()
            client_thread.join()


class ConnectionLoad:
    """Clients that keep connecting, requesting and disconnecting while the context lasts."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._threads = [threading.Thread(target=self._send_requests) for _ in range(8)]

    def await_answer(self) -> None:
        """Wait until another request has been answered."""
        self._answered.clear()
        assert self._answered.wait(DEADLINE_SECONDS)

    def _send_requests(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError, HTTPException), RawClient(self._service.port) as client:
                client.send_request("GET", "/health", "Connection: close").answer()
                self._answered.set()

    def __enter__(self) -> "ConnectionLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def worker_pids(service: ServiceProcess) -> list[int]:
    """Return the PIDs of all workers so far, in the order of their start."""
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)\n", service.log_text)]


def is_release(request: Request) -> bool:
    return request.method == "PUT" and json.loads(request.body)["spec"]["holderIdentity"] == ""


def test_sigterm__lease_is_released_while_a_slow_request_is_served(replica: Replica, lease: DispatcherLease) -> None:
    """The worker may be killed before the request ends, so the release must not wait for it."""
    with replica(DEFINITIONS) as service:
        until(lease.is_settled)
        with trickling(service):
            service.send_signal(signal.SIGTERM)
            until(lambda: lease.holder() == "")
            assert "Worker exiting" not in service.log_text


@pytest.mark.slow
def test_sigquit__worker_ends_while_connections_are_handed_to_threads(replica: Replica) -> None:
    """The signal may interrupt the worker while it holds the thread pool's locks."""
    with replica(DEFINITIONS, SLIMFAAS_DISPATCHER="off") as service, ConnectionLoad(service) as load:
        for count in range(1, 21):
            until(lambda count=count: len(worker_pids(service)) == count)
            load.await_answer()
            os.kill(worker_pids(service)[-1], signal.SIGQUIT)
        until(lambda: len(worker_pids(service)) == 21)


@pytest.mark.slow
def test_second_sigquit__worker_exits_without_interpreter_cleanup(
    server: Server, replica: Replica, lease: DispatcherLease
) -> None:
    """The interpreter's cleanup would copy the memory that workers share."""
    hold = Hold()
    with (
        FaultProxy(server.url, ca=server.ca_file) as proxy,
        replica(DEFINITIONS, url=proxy.url, PYTHONVERBOSE="1") as service,
    ):
        until(lease.is_settled)
        proxy.add(Fault(hold, when=is_release))
        (worker,) = worker_pids(service)
        os.kill(worker, signal.SIGQUIT)
        hold.wait_held()
        os.kill(worker, signal.SIGQUIT)
        until(lambda: len(worker_pids(service)) == 2)  # the first worker has ended
        assert "# cleanup" not in service.log_text, "the interpreter logs this during its cleanup"
        hold.release()
