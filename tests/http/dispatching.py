"""An application with a dispatcher beside it, and functions that wait for its runs."""

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
from tests.support.waiting import DEADLINE_SECONDS

Run = dict[str, Any]


def make_caller(kubeconfig: Path, definitions: dict[str, Any]) -> Caller:
    """Build an application whose own dispatcher is not started."""
    settings = Settings(configuration=json.dumps(definitions), kubeconfig=str(kubeconfig), public_listing=True)
    return Caller(create_app(settings).test_client())


@contextmanager
def dispatching(kubeconfig: Path, definitions: dict[str, Any], **settings: Any) -> Iterator[None]:
    """Run the dispatcher of a separate service until the end of the context, with further settings."""
    settings = {"configuration": json.dumps(definitions), "kubeconfig": str(kubeconfig), "instance": "test", **settings}
    dispatcher = build_runtime(Settings(**settings)).dispatcher
    assert dispatcher is not None
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def start(caller: Caller, definition: str, *args: str, **fields: Any) -> str:
    """Start a run and return its location."""
    accepted = caller.post(f"/job/{definition}", json.dumps(({"Args": list(args)} if args else {}) | fields))
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["Location"]


def wait_for(caller: Caller, location: str, condition: Callable[[Run], bool]) -> Run:
    """Wait until a run meets a condition, and return it."""
    return watch(caller, location, condition)[-1]


def watch(caller: Caller, location: str, condition: Callable[[Run], bool]) -> list[Run]:
    """Read a run until it meets a condition, and return every state that was seen."""
    seen: list[Run] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not seen or not condition(seen[-1]):
        assert time.monotonic() < deadline, seen[-1]
        time.sleep(0.02)
        response = caller.get(location)
        assert response.status_code == 200, response.text
        seen.append(response.get_json())
    return seen


def has(**values: Any) -> Callable[[Run], bool]:
    """Return a condition: the run has these values."""
    return lambda run: all(run[key] == value for key, value in values.items())


def simulate_run(*, seconds: int, exit_code: int = 0) -> list[dict[str, str]]:
    """Return environment variables that tell a node without processes what to simulate."""
    values = {"TESTNODE_RUNS_FOR": f"{seconds}s", "TESTNODE_EXIT_CODE": str(exit_code)}
    return [{"Name": name, "Value": value} for name, value in values.items()]


def until_known(call: Callable[[], TestResponse]) -> TestResponse:
    """Repeat a request until the queues' lengths are known, and return the first response then."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (response := call()).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.02)
    return response
