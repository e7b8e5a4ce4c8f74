"""Which requests get a thread when there are more requests than threads."""

import pytest

from app.server.request_lanes import (
    METRICS_THREADS,
    PROBE_THREADS,
    READ_THREADS,
    START_THREADS,
    Kind,
    RequestLanes,
    kind_of,
)

LONG = 5


@pytest.fixture
def lanes() -> RequestLanes[int]:
    """Lanes of a server with a few threads for requests that last."""
    return RequestLanes(LONG)


def add(lanes: RequestLanes[int], kind: Kind, count: int) -> list[int]:
    """Add so many requests; returns those that get a thread."""
    for number in range(count):
        lanes.add(kind, number)
    given = []
    while (turn := lanes.next()) is not None:
        assert turn[0] is kind
        given.append(turn[1])
    return given


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", Kind.PROBE),
        (b"HEAD /ready HTTP/1.1\r\n\r\n", Kind.PROBE),
        (b"GET /metrics?name[]=a HTTP/1.1\r\nUser-Agent: kube-probe/1.37\r\n\r\n", Kind.METRICS),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", Kind.METRICS),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n", Kind.READ),
        (b"POST /job/fibonacci HTTP/1.1\r\nHost: a\r\n", Kind.START),
        (b"GET /job/fibonacci HTTP/1.1\r\nHost: a\r\n\r\n", Kind.READ),
        (b"DELETE /job/fibonacci/flskh5ipglrj HTTP/1.1\r\n\r\n", Kind.READ),
        (b"\x16\x03\x01", Kind.READ),
        (b"", Kind.READ),
        # No probes: their senders could hold a thread by sending slowly, or are about something else.
        (b"GET /health HTTP/1.1\r\nHost: a\r\n", Kind.READ),
        (b"GET /health HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Kind.READ),
        (b"GET /health HTTP/1.1\r\nTRANSFER-ENCODING : chunked\r\n\r\n", Kind.READ),
        (b"GET /health HTTP/1.1\r\nexpect: 100-continue\r\n\r\n", Kind.READ),
        (b"POST /health HTTP/1.1\r\n\r\n", Kind.START),
        (b"GET /healthy HTTP/1.1\r\n\r\n", Kind.READ),
        (b"GET /health/x HTTP/1.1\r\n\r\n", Kind.READ),
    ],
)
def test_kind_of__reads_the_first_bytes(sent: bytes, kind: Kind) -> None:
    assert kind_of(sent) is kind


@pytest.mark.parametrize("crowd", [Kind.START, Kind.READ, Kind.METRICS])
def test_next__keeps_threads_for_the_other_lanes(lanes: RequestLanes[int], crowd: Kind) -> None:
    """However many requests of one kind there are."""
    other = Kind.READ if crowd is Kind.START else Kind.START
    threads = {Kind.START: START_THREADS, Kind.READ: READ_THREADS}
    if crowd is Kind.METRICS:
        assert len(add(lanes, crowd, 1000)) == METRICS_THREADS
        assert len(add(lanes, other, 1000)) == threads[other] + LONG
    else:
        assert len(add(lanes, crowd, 1000)) == threads[crowd] + LONG
        assert len(add(lanes, other, 1000)) == threads[other]
        assert len(add(lanes, Kind.METRICS, 1000)) == METRICS_THREADS
    assert len(add(lanes, Kind.PROBE, 1000)) == PROBE_THREADS


def test_next__gives_a_free_thread_to_the_request_that_came_first(lanes: RequestLanes[int]) -> None:
    count = len(add(lanes, Kind.READ, 100))
    for number in range(count, 100):
        lanes.release(Kind.READ)
        assert lanes.next() == (Kind.READ, number)
        assert lanes.next() is None


@pytest.mark.parametrize(("kind", "threads"), [(Kind.START, START_THREADS + LONG), (Kind.PROBE, PROBE_THREADS)])
def test_next__gives_all_threads_again_after_a_crowd(lanes: RequestLanes[int], kind: Kind, threads: int) -> None:
    for _ in range(3):
        assert len(add(lanes, kind, threads)) == threads
        for _ in range(threads):
            lanes.release(kind)
    assert lanes.next() is None
