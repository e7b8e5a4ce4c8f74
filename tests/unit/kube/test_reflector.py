"""When a watch counts as broken. The other behaviour of the reflector is tested against an API server."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.common.backoff import Backoff
from app.kube import reflector as reflector_module
from app.kube.errors import ClusterError, ExpiredError, ForbiddenError, NotFoundError, UnavailableError
from app.kube.reflector import Reflector
from tests.support.waiting import DEADLINE_SECONDS


class FakeClient:
    """An API server that has no objects and ends each watch at once.

    Args:
        errors: how each watch ends; `None`: as it should. Before the watch after the last one the reflector is stopped.
    """

    def __init__(self, errors: list[ClusterError | None]) -> None:
        self.transport = self
        self._errors = iter(errors)
        self.reflector: Reflector[Any] | None = None
        self.lists = 0

    def pages(self, _collection: object) -> Iterator[tuple[list[Any], int]]:
        """List nothing."""
        self.lists += 1
        yield [], 7

    @contextmanager
    def stream(self, *_args: object, **_options: object) -> Iterator[Any]:
        """Open a watch that shows nothing."""
        error = next(self._errors, StopIteration)
        if error is StopIteration:
            assert self.reflector is not None
            self.reflector.stop()
        elif error is not None:
            raise error
        yield SimpleNamespace(lines=lambda: iter(()), close=lambda: None)


class FakeStore:
    """A store that counts its lists."""

    def __init__(self) -> None:
        self.lists = 0

    def replace(self, _records: list[Any], _version: int) -> None:
        """Count a list."""
        self.lists += 1

    def put(self, _record: Any) -> None:
        """Ignore a change."""

    def remove(self, _record: Any) -> None:
        """Ignore a removal."""


@pytest.mark.parametrize(
    ("errors", "breaks"),
    [
        ([None, None], 0),
        ([UnavailableError("the connection is lost"), None], 1),
        ([ExpiredError("too old")], 1),
    ],
    ids=["ended", "broken", "expired"],
)
def test_on_break__is_called_only_after_a_failure(errors: list[ClusterError | None], breaks: int) -> None:
    """The leader writes the Lease after each break, and must not do so after each watch that ends by itself."""
    client, synced_at_breaks = FakeClient(errors), []
    resource: Any = SimpleNamespace(path="/runs", label_selector="")
    untyped: Any = client
    reflector: Reflector[Any] = Reflector(
        untyped,
        resource,
        lambda job: job,
        FakeStore(),
        name="test",
        on_break=lambda: synced_at_breaks.append(reflector.synced.is_set()),
    )
    client.reflector = reflector
    reflector.start()
    reflector.join(DEADLINE_SECONDS)
    assert synced_at_breaks == [False] * breaks


def test_stop__keeps_a_list_that_ends_later_from_the_store() -> None:
    """The store may serve a term that is over."""
    client, store = FakeClient([]), FakeStore()
    untyped: Any = client
    resource: Any = SimpleNamespace(path="/runs", label_selector="")
    reflector: Reflector[Any] = Reflector(untyped, resource, lambda job: job, store, name="test")
    pages = client.pages

    def pages_until_stopped(collection: object) -> Iterator[tuple[list[Any], int]]:
        yield from pages(collection)
        reflector.stop()

    untyped.pages = pages_until_stopped
    reflector.start()
    reflector.join(DEADLINE_SECONDS)
    assert (client.lists, store.lists) == (1, 0)


@pytest.mark.parametrize("error", [ForbiddenError("no right"), NotFoundError("no such kind")])
def test_on_refused__is_told_instead_of_an_outage_and_the_pauses_are_longer(
    error: ClusterError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For a collection that the process can do without."""
    monkeypatch.setattr(reflector_module, "_REFUSED_BACKOFF", Backoff(first_seconds=0.02, last_seconds=0.04))
    refused: list[ClusterError] = []
    client = FakeClient([error, error, UnavailableError("the connection is lost"), None])
    resource: Any = SimpleNamespace(path="/cronjobs", label_selector="")
    untyped: Any = client
    reflector: Reflector[Any] = Reflector(
        untyped, resource, lambda item: item, FakeStore(), name="test", on_refused=refused.append
    )
    client.reflector = reflector
    with caplog.at_level(logging.WARNING):
        reflector.start()
        reflector.join(DEADLINE_SECONDS)
    assert refused == [error, error]
    assert client.lists == 4  # at first, and after each error
    assert [record.getMessage() for record in caplog.records] == ["the watch of test fails: the connection is lost"]
