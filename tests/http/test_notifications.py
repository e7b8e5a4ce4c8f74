"""Notifications from a request to its receiver, with the whole service, and the lists that find runs by them."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from app.kube.parsing import read_time
from tests.http.clients import Caller, check_problem
from tests.http.dispatching import dispatching, has, make_caller, start, wait_for
from tests.support.receivers import Receiver
from tests.support.servers import Server, write_kubeconfig


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
def kubeconfig(server: Server, namespace: str, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path, server, namespace)


def delivering(kubeconfig: Path, definitions: dict[str, Any]) -> AbstractContextManager[None]:
    """Dispatch, and deliver to loopback."""
    return dispatching(kubeconfig, definitions, notify_allowed_networks=(IPv4Network("127.0.0.0/8"),))


def ids(caller: Caller, query: str) -> set[str]:
    return {run["Id"] for run in caller.get(f"/job/{query}").json}


def test_notification__has_the_run_as_get_shows_it_and_lists_find_it(kubeconfig: Path, receiver: Receiver) -> None:
    entry = {"Image": "busybox:1", "Args": ["true"], "Visibility": "Public", "NumberParallelJob": 2}
    definitions = {
        "Configurations": {
            "told": {**entry, "Notify": {"Url": receiver.url, "Format": "Binary"}, "TtlSecondsAfterFinished": 600},
            "untold": {**entry, "Notify": {"Url": "http://127.0.0.1:1/"}},
        }
    }
    caller = make_caller(kubeconfig, definitions)
    waiting = start(caller, "told")
    assert caller.get(waiting).json["Notification"] == "Waiting"
    assert ids(caller, "told?notification=Waiting") == {waiting.rpartition("/")[2]}
    with delivering(kubeconfig, definitions):
        told = wait_for(caller, waiting, has(Notification="Delivered"))
        untold = wait_for(caller, start(caller, "untold"), has(Notification="Undelivered"))
    [got] = receiver.received
    event = from_http_event(HTTPMessage(headers=dict(got.headers), body=got.body))
    data: Any = event.get_data()
    data = data if isinstance(data, dict) else json.loads(data)
    assert data == {**told, "Notification": "Undelivered"}
    assert event.get_type() == "dev.slimfaas.run.succeeded"
    assert event.get_subject() == told["Id"]
    assert ids(caller, "told?notification=Delivered&notification=GivenUp") == {told["Id"]}
    assert ids(caller, "told?notification=Undelivered") == set()
    assert ids(caller, "untold?notification=Undelivered") == {untold["Id"]}


def test_list__of_what_has_ended_since(kubeconfig: Path, receiver: Receiver) -> None:
    entry = {"Image": "busybox:1", "Args": ["true"], "Visibility": "Public"}
    definitions = {"Configurations": {"fib": entry}}
    caller = make_caller(kubeconfig, definitions)
    with delivering(kubeconfig, definitions):
        run = wait_for(caller, start(caller, "fib"), has(Status="Succeeded"))
    queued = start(caller, "fib")
    ended = datetime.fromtimestamp(run["EndTimestamp"] / 1000, UTC)
    for moment, found in ((ended, {run["Id"]}), (ended + timedelta(milliseconds=1), set())):
        assert ids(caller, f"fib?finishedSince={moment.isoformat().replace('+00:00', 'Z')}") == found
        assert read_time(moment.isoformat()) is not None
    assert ids(caller, "fib") == {run["Id"], queued.rpartition("/")[2]}
    for query in (
        "finishedSince=yesterday",
        "finishedSince=2026-01-01",
        "finishedSince=2026-01-01T00:00:00",
        "finishedSince=",
        "notification=delivered",
        "notification=",
    ):
        assert query.partition("=")[0] in check_problem(caller.get(f"/job/fib?{query}"), 400)["detail"]
