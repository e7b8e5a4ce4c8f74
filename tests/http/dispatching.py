"""Runs that start: an application with a dispatcher beside it, and the waiting for what becomes of its runs."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from app.factory import create_app
from app.runtime import build_runtime
from app.settings import Settings
from tests.http.clients import Caller

DEADLINE_SECONDS = 30.0

Run = dict[str, Any]


def make_caller(kubeconfig: Path, definitions: dict[str, Any]) -> Caller:
    """An application whose own dispatcher is not started."""
    return Caller(create_app(Settings(configuration=json.dumps(definitions), kubeconfig=str(kubeconfig))).test_client())


@contextmanager
def dispatching(kubeconfig: Path, definitions: dict[str, Any]) -> Iterator[None]:
    """A dispatcher of a service of its own, until the end of the context."""
    settings = Settings(configuration=json.dumps(definitions), kubeconfig=str(kubeconfig), instance="test")
    dispatcher = build_runtime(settings).dispatcher
    assert dispatcher is not None
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def start(caller: Caller, definition: str, *args: str, **fields: Any) -> str:
    """Start a run; its location."""
    accepted = caller.post(f"/job/{definition}", json.dumps(({"Args": list(args)} if args else {}) | fields))
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["Location"]


def wait_for(caller: Caller, location: str, wanted: Callable[[Run], bool]) -> Run:
    """Wait until a run is as wanted; as it was then."""
    return watch(caller, location, wanted)[-1]


def watch(caller: Caller, location: str, wanted: Callable[[Run], bool]) -> list[Run]:
    """Look at a run again and again until it is as wanted; everything that was seen."""
    seen: list[Run] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not seen or not wanted(seen[-1]):
        assert time.monotonic() < deadline, seen[-1]
        time.sleep(0.02)
        answer = caller.get(location)
        assert answer.status_code == 200, answer.text
        seen.append(answer.get_json())
    return seen


def has(**values: Any) -> Callable[[Run], bool]:
    """Whether a run has these values."""
    return lambda run: all(run[key] == value for key, value in values.items())


def fares(*, seconds: int, exit_code: int = 0) -> list[dict[str, str]]:
    """Environment variables that tell a node which runs no processes what to pretend."""
    values = {"TESTNODE_RUNS_FOR": f"{seconds}s", "TESTNODE_EXIT_CODE": str(exit_code)}
    return [{"Name": name, "Value": value} for name, value in values.items()]


def until_known(call: Callable[[], TestResponse]) -> TestResponse:
    """Call until the queues' lengths are known; the first answer then."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (answer := call()).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
