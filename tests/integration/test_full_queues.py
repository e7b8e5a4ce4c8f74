"""Limits on queued runs, whatever happens to the requests that store runs."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.kube.errors import InvalidError
from app.runs.create import CreateFailedError
from app.runs.limits.queue_limiter import QueueFullError, QueueLimiter, QueueUnknownError
from app.runs.retry_budget import RetryPolicy
from app.runs.submit import Accepted, Submitter
from schemas.definition import Definition
from tests.integration.dispatching import SHORT, ClusterFixture, until
from tests.support.clock import Clock
from tests.support.faults import Fault, Hold, LoseRequest, LoseResponse, Refuse, Request
from tests.support.threads import no_threads

CREATE = r"/jobs$"
LIMITED = Definition("fib", "busybox:1", args=SHORT, max_queued=3)


def is_watch(request: Request) -> bool:
    return request.watching and request.path.endswith("/jobs")


@pytest.fixture
def open_queues(cluster: ClusterFixture) -> Iterator[Callable[..., Submitter]]:
    """Make submitters as of several processes, each with a watch of its own."""
    opened: list[QueueLimiter] = []

    def open_some(most: int | None = None, clock: Callable[[], float] = time.monotonic) -> Submitter:
        namespace = cluster.connect()
        queues = QueueLimiter(namespace, most, 2**28, clock=clock)
        opened.append(queues)
        return Submitter(namespace, queues, retry_policy=RetryPolicy(sleep=lambda seconds: None))

    yield open_some
    for queues in opened:
        queues.stop()


def submit(submitter: Submitter, definition: Definition = LIMITED, key: str | None = None) -> Accepted | Exception:
    """Start a run, once the number of queued runs is known."""

    def known() -> Accepted | Exception | None:
        try:
            return submitter.submit(definition, b"", key=key)
        except QueueUnknownError:
            return None
        except Exception as error:
            return error

    outcome: Accepted | Exception = until(known)
    return outcome


def queued(cluster: ClusterFixture) -> list[str]:
    return [str(job.metadata.name) for job in cluster.batch.list_namespaced_job(cluster.namespace).items]


def kinds(outcomes: list[Accepted | Exception]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


def test_submit__accepts_exactly_as_many_concurrent_requests_as_may_be_queued(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """64 requests, 10 places. A place is reserved before the run is sent."""
    submitter, definition = open_queues(), Definition("fib", "busybox:1", max_queued=10)
    with ThreadPoolExecutor(64) as threads:
        outcomes = list(threads.map(lambda _: submit(submitter, definition), range(64)))
    assert kinds(outcomes) == {"Accepted": 10, "QueueFullError": 54}
    assert len(queued(cluster)) == 10


def test_submit__accepts_another_run_once_one_was_admitted_or_deleted(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    submitter = open_queues()
    accepted = [submit(submitter) for _ in range(4)]
    assert kinds(accepted) == {"Accepted": 3, "QueueFullError": 1}
    cluster.delete(queued(cluster)[0])
    until(lambda: isinstance(submit(submitter), Accepted))
    assert isinstance(submit(submitter), QueueFullError)
    with cluster.dispatching({"fib": 1}):
        until(lambda: isinstance(submit(submitter), Accepted))


def test_submit__counts_earlier_runs_and_those_of_other_processes(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    cluster.queue(count=2)
    one, other = open_queues(), open_queues()
    assert isinstance(submit(one), Accepted)
    until(lambda: isinstance(submit(other), QueueFullError))
    assert len(queued(cluster)) <= 4, "at most one over the limit, before the watch showed the other process's run"


def test_submit__names_no_definition_where_the_limit_of_all_queues_is_reached(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """It applies to definitions without a limit of their own, too."""
    submitter = open_queues(2)
    free = Definition("free", "busybox:1")
    assert isinstance(submit(submitter), Accepted)
    assert isinstance(submit(submitter, free), Accepted)
    refused = submit(submitter, free)
    assert isinstance(refused, QueueFullError)
    assert refused.full.definition is None


@pytest.mark.parametrize("refusal", [Refuse(422, "Invalid", "no"), Refuse(403, "Forbidden", "exceeded quota: x")])
def test_submit__releases_the_place_of_a_refused_run(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter], refusal: Refuse
) -> None:
    submitter = open_queues()
    cluster.proxy.add(Fault(refusal, method="POST", path=CREATE, times=5))
    outcomes = [submit(submitter) for _ in range(8)]
    assert all(isinstance(outcome, InvalidError | CreateFailedError) for outcome in outcomes[:5])
    assert kinds(outcomes[5:]) == {"Accepted": 3}


def test_submit__keeps_the_place_of_a_run_that_may_be_stored(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    fault = cluster.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    lost = submit(submitter)
    assert isinstance(lost, CreateFailedError)
    assert lost.outcome_unknown
    cluster.proxy.remove(fault)
    assert kinds([submit(submitter) for _ in range(2)]) == {"Accepted": 1, "QueueFullError": 1}


def test_submit__counts_a_run_once_where_its_response_was_lost(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """The watch may show the run before the retry finds it."""
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    cluster.proxy.add(Fault(LoseResponse(), method="POST", path=CREATE, times=1))
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 2, "QueueFullError": 1}


def test_submit__replays_an_accepted_request_at_a_full_queue(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """Its run has a place already; a run of another key has none."""
    submitter = open_queues()
    outcomes = [submit(submitter, key=key) for key in ("a", "b", "c", "d", "a")]
    assert kinds(outcomes) == {"Accepted": 4, "QueueFullError": 1}
    assert isinstance(outcomes[4], Accepted)
    assert outcomes[4].replayed
    with cluster.dispatching({"fib": 1}):
        until(
            lambda: len(
                [job for job in cluster.batch.list_namespaced_job(cluster.namespace).items if job.status.succeeded]
            )
        )
        replayed = submit(submitter, key="a")
    assert isinstance(replayed, Accepted)
    assert replayed.replayed


def test_submit__reserves_one_place_for_concurrent_requests_with_one_key(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    submitter = open_queues()
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: submit(submitter, key="same"), range(8)))
    assert kinds(outcomes) == {"Accepted": 8}
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 2, "QueueFullError": 1}


def test_submit__keeps_the_limit_while_the_watch_is_broken(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """The runs that it showed last count, and those that were stored since."""
    [listed] = cluster.queue()
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    cluster.proxy.wait_for(is_watch)
    cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="GET", path=CREATE, times=None))
    cluster.proxy.cut_watches()
    assert kinds([submit(submitter) for _ in range(9)]) == {"Accepted": 1, "QueueFullError": 8}
    cluster.proxy.heal()
    cluster.delete(listed)  # the watch may not have shown the other run yet: that one counts until it is seen
    until(lambda: isinstance(submit(submitter), Accepted))


def test_submit__keeps_the_limit_however_long_the_watch_is_silent(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """A half-open connection looks like a quiet one. That it has not shown a run proves nothing."""
    clock = Clock()
    submitter = open_queues(clock=clock)
    assert isinstance(submit(submitter), Accepted)
    cluster.proxy.wait_for(lambda request: is_watch(request) and request.status == 200)
    cluster.proxy.silence(watches_only=True)
    outcomes = [submit(submitter) for _ in range(5)]
    clock.now += 3600
    outcomes += [submit(submitter) for _ in range(5)]
    assert kinds(outcomes) == {"Accepted": 2, "QueueFullError": 8}
    assert len(queued(cluster)) == 3
    cluster.proxy.heal()
    cluster.delete(queued(cluster)[0])
    until(lambda: isinstance(submit(submitter), Accepted))


def test_submit__releases_the_place_of_a_run_that_the_watch_never_shows_but_shows_later_ones(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """The run may have been stored, and was not."""
    clock = Clock()
    submitter = open_queues(clock=clock)
    assert isinstance(submit(submitter), Accepted)
    fault = cluster.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    assert kinds([submit(submitter) for _ in range(3)]) == {"CreateFailedError": 2, "QueueFullError": 1}
    cluster.proxy.remove(fault)
    assert isinstance(submit(submitter), QueueFullError)
    clock.now += 3600
    cluster.queue("other")
    until(lambda: isinstance(submit(submitter), Accepted))
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 1, "QueueFullError": 2}


def test_submit__accepts_nothing_until_the_runs_are_listed(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="GET", path=CREATE))
    submitter = open_queues()
    with pytest.raises(QueueUnknownError):
        submitter.submit(LIMITED, b"")
    hold.release()
    assert isinstance(submit(submitter), Accepted)


def test_submit__starts_the_watch_later_where_no_thread_can_be_started(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    submitter = open_queues()
    with no_threads(), pytest.raises(RuntimeError):
        submitter.submit(LIMITED, b"")
    assert isinstance(submit(submitter), Accepted)


def test_submit__watches_nothing_and_costs_one_call_without_a_limit(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    assert isinstance(submit(open_queues(), Definition("fib", "busybox:1")), Accepted)
    assert [request.method for request in cluster.proxy.requests] == ["POST"]
    assert not [thread for thread in threading.enumerate() if thread.name == "watch-queues" and thread.is_alive()]


def test_submit__costs_one_call_for_each_run_with_a_limit(
    cluster: ClusterFixture, open_queues: Callable[..., Submitter]
) -> None:
    """One list and one watch serve all requests."""
    submitter = open_queues()
    assert kinds([submit(submitter) for _ in range(9)]) == {"Accepted": 3, "QueueFullError": 6}
    calls = Counter(request.method for request in cluster.proxy.requests if not request.watching)
    assert calls == {"POST": 3, "GET": 1}
