"""Paging of Job lists: every Job is read once, and pages are limited in size."""

from urllib.parse import parse_qs

import pytest

from tests.integration.dispatching import ClusterFixture

_FILLER = "\x01"
"""A character with one byte in etcd, and six in JSON."""


def listed(cluster: ClusterFixture) -> list[str]:
    """Return the names of all runs, as the service reads them."""
    namespace = cluster.connect()
    return [job["metadata"]["name"] for job in namespace.objects(namespace.runs)]


def limits(cluster: ClusterFixture) -> list[int]:
    """Return the `limit` of each list request."""
    queries = [parse_qs(request.query) for request in cluster.proxy.requests if request.method == "GET"]
    return [int(query["limit"][0]) for query in queries if "limit" in query]


@pytest.mark.parametrize("count", [0, 49, 50, 51, 120])
def test_list__reads_fifty_ordinary_jobs_per_page(cluster: ClusterFixture, count: int) -> None:
    names = cluster.queue(count=count)
    assert sorted(listed(cluster)) == sorted(names)
    assert limits(cluster) == [50] * max(1, -(-count // 50))


def test_pages__next_page_is_asked_for__empties_the_page_before(cluster: ClusterFixture) -> None:
    """Whoever still holds it, so that no reader has two pages in memory."""
    cluster.queue(count=51)
    namespace = cluster.connect()
    pages = namespace.pages(namespace.runs)
    first, _ = next(pages)
    assert len(first) == 50
    second, _ = next(pages)
    assert (len(first), len(second)) == (0, 1)


def test_list__large_jobs__limits_pages_to_a_mebibyte(cluster: ClusterFixture) -> None:
    """Fifty of them would be 6 MiB of JSON, and more than a process's spare memory as objects."""
    names = cluster.queue(count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(cluster)) == sorted(names)
    assert limits(cluster) == [50, 25, 12, 6, 6, 12]


def test_list__large_jobs_after_ordinary_ones__reads_no_job_twice(cluster: ClusterFixture) -> None:
    names = cluster.queue("a", count=60) + cluster.queue("b", count=20, args=(_FILLER * 20_000,))
    assert sorted(listed(cluster)) == sorted(names)
    assert limits(cluster) == [50, 50, 25, 12, 12, 6, 6, 12]


def test_list__job_larger_than_a_page__gets_its_own_page(cluster: ClusterFixture) -> None:
    names = cluster.queue("a", count=2) + cluster.queue("b", args=(_FILLER * 200_000,)) + cluster.queue("c")
    assert sorted(listed(cluster)) == sorted(names)
    assert limits(cluster) == [50, 25, 12, 6, 3, 1, 1, 2, 1, 1]


def test_list__ordinary_jobs_after_large_ones__pages_grow_again(cluster: ClusterFixture) -> None:
    """A few large Jobs among many usual ones cost a few pages, and not one list call per Job."""
    names = cluster.queue("a", count=3, args=(_FILLER * 150_000,)) + cluster.queue("b", count=150)
    assert sorted(listed(cluster)) == sorted(names)
    assert limits(cluster)[-1] == 50
    assert len(limits(cluster)) < 25
