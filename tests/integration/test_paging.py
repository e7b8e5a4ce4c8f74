"""Paging of Job lists: every Job is read once, and pages are limited in size."""

from urllib.parse import parse_qs

import pytest

from tests.integration.dispatching import Stage

_FILLER = "\x01"
"""A character with one byte in etcd, and six in JSON."""


def listed(stage: Stage) -> list[str]:
    """Return the names of all runs, as the service reads them."""
    namespace = stage.connect()
    return [job["metadata"]["name"] for job in namespace.objects(namespace.runs)]


def limits(stage: Stage) -> list[int]:
    """Return the `limit` of each list request."""
    queries = [parse_qs(request.query) for request in stage.proxy.requests if request.method == "GET"]
    return [int(query["limit"][0]) for query in queries if "limit" in query]


@pytest.mark.parametrize("count", [0, 49, 50, 51, 120])
def test_list__reads_fifty_ordinary_jobs_per_page(stage: Stage, count: int) -> None:
    names = stage.queue(count=count)
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50] * max(1, -(-count // 50))


def test_list__large_jobs__limits_pages_to_a_mebibyte(stage: Stage) -> None:
    """Fifty of them would be 6 MiB of JSON, and more than a process's spare memory as objects."""
    names = stage.queue(count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 25, 12, 6, 6, 12]


def test_list__large_jobs_after_ordinary_ones__reads_no_job_twice(stage: Stage) -> None:
    names = stage.queue("a", count=60) + stage.queue("b", count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 50, 25, 12, 12, 6, 6, 12]


def test_list__job_larger_than_a_page__gets_its_own_page(stage: Stage) -> None:
    names = stage.queue("a", count=2) + stage.queue("b", args=(_FILLER * 200_000,)) + stage.queue("c")
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 25, 12, 6, 3, 1, 1, 2, 1, 1]


def test_list__ordinary_jobs_after_large_ones__pages_grow_again(stage: Stage) -> None:
    """A few large Jobs among many usual ones cost a few pages, and not one list call per Job."""
    names = stage.queue("a", count=3, args=(_FILLER * 150_000,)) + stage.queue("b", count=150)
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage)[-1] == 50
    assert len(limits(stage)) < 25
