"""Lists of Jobs of any size: all of them, each once, and never more than a page of them at a time."""

from urllib.parse import parse_qs

import pytest

from tests.integration.dispatching import Stage

_FILLER = "\x01"
"""Has one byte in what is stored, and six in JSON."""


def listed(stage: Stage) -> list[str]:
    """The names of all runs, as the service reads them."""
    namespace = stage.connect()
    return [job["metadata"]["name"] for job in namespace.objects(namespace.runs)]


def limits(stage: Stage) -> list[int]:
    """For how many objects each list asked."""
    queries = [parse_qs(request.query) for request in stage.proxy.requests if request.method == "GET"]
    return [int(query["limit"][0]) for query in queries if "limit" in query]


@pytest.mark.parametrize("count", [0, 49, 50, 51, 120])
def test_usual_jobs_come_fifty_at_a_time(stage: Stage, count: int) -> None:
    """A page more where that isn't enough."""
    names = stage.queue(count=count)
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50] * max(1, -(-count // 50))


def test_large_jobs_come_by_the_mebibyte(stage: Stage) -> None:
    """Fifty of them would be 6 MiB of text, and as objects more than a process has to spare."""
    names = stage.queue(count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 25, 12, 6, 6, 12]


def test_large_jobs_behind_usual_ones_are_read_from_there_on(stage: Stage) -> None:
    """What was read is not read again, nor is anything left out where the pages become shorter."""
    names = stage.queue("a", count=60) + stage.queue("b", count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 50, 25, 12, 12, 6, 6, 12]


def test_a_job_that_is_larger_than_a_page_may_be_comes_alone(stage: Stage) -> None:
    """It can't be had in parts, and must not keep the others from being read."""
    names = stage.queue("a", count=2) + stage.queue("b", args=(_FILLER * 200_000,)) + stage.queue("c")
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage) == [50, 25, 12, 6, 3, 1, 1, 2, 1, 1]


def test_pages_grow_again_behind_large_jobs(stage: Stage) -> None:
    """A few large Jobs among many usual ones cost a few pages, and not one list call per Job."""
    names = stage.queue("a", count=3, args=(_FILLER * 150_000,)) + stage.queue("b", count=150)
    assert sorted(listed(stage)) == sorted(names)
    assert limits(stage)[-1] == 50
    assert len(limits(stage)) < 25
