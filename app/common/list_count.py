"""Counts the lists that a thread makes at the API server: for those who pay for them, wherever they are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class ListCount:
    """How many lists were made.

    Attributes:
        lists: how many, each of all its pages.
    """

    lists: int = 0


_count: ContextVar[ListCount | None] = ContextVar("list_count", default=None)


@contextmanager
def count_lists() -> Iterator[ListCount]:
    """Count the lists that this thread makes for as long as the context lasts."""
    count = ListCount()
    token = _count.set(count)
    try:
        yield count
    finally:
        _count.reset(token)


def record_list() -> None:
    """Record that this thread makes a list now, whatever becomes of it."""
    if (count := _count.get()) is not None:
        count.lists += 1
