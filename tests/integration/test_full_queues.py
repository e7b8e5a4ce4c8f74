"""Queues that may become only so long, whatever happens to the calls that would make them longer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.kube.errors import InvalidError
from app.runs.create import CreateFailedError
from app.runs.limits.queue_limiter import QueueFullError, QueueLimiter, QueueUnknownError
from app.runs.submit import Accepted, Submitter
from schemas.definition import Definition
from tests.integration.dispatching import SHORT, Stage, until
from tests.support.clock import Clock
from tests.support.faults import Fault, Hold, LoseAnswer, LoseRequest, Refuse, Request
from tests.support.threads import no_threads

CREATE = r"/jobs$"
BOUNDED = Definition("fib", "busybox:1", args=SHORT, max_queued=3)


def is_watch(request: Request) -> bool:
    return request.watching and request.path.endswith("/jobs")


@pytest.fixture
def open_queues(stage: Stage) -> Iterator[Callable[..., Submitter]]:
    """Makes processes that start runs, each with a watch of its own."""
    opened: list[QueueLimiter] = []

    def open_some(most: int | None = None, clock: Callable[[], float] = time.monotonic) -> Submitter:
        namespace = stage.connect()
        queues = QueueLimiter(namespace, most, clock=clock)
        opened.append(queues)
        return Submitter(namespace, queues, sleep=lambda seconds: None)

    yield open_some
    for queues in opened:
        queues.stop()


def submit(submitter: Submitter, definition: Definition = BOUNDED, key: str | None = None) -> Accepted | Exception:
    """Start a run, however long it takes until the queue's length is known."""

    def known() -> Accepted | Exception | None:
        try:
            return submitter.submit(definition, b"", key=key)
        except QueueUnknownError:
            return None
        except Exception as error:
            return error

    outcome: Accepted | Exception = until(known)
    return outcome


def queued(stage: Stage) -> list[str]:
    return [str(job.metadata.name) for job in stage.batch.list_namespaced_job(stage.name).items]


def kinds(outcomes: list[Accepted | Exception]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


def test_of_many_concurrent_calls_exactly_as_many_are_accepted_as_may_wait(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """64 calls, 10 places: a place is taken before the run is sent, so none is given away twice."""
    submitter, definition = open_queues(), Definition("fib", "busybox:1", max_queued=10)
    with ThreadPoolExecutor(64) as threads:
        outcomes = list(threads.map(lambda _: submit(submitter, definition), range(64)))
    assert kinds(outcomes) == {"Accepted": 10, "QueueFullError": 54}
    assert len(queued(stage)) == 10


def test_a_place_is_free_again_once_a_run_has_left(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """Admitted or deleted; the watch shows it."""
    submitter = open_queues()
    accepted = [submit(submitter) for _ in range(4)]
    assert kinds(accepted) == {"Accepted": 3, "QueueFullError": 1}
    stage.delete(queued(stage)[0])
    until(lambda: isinstance(submit(submitter), Accepted))
    assert isinstance(submit(submitter), QueueFullError)
    with stage.dispatching({"fib": 1}):
        until(lambda: isinstance(submit(submitter), Accepted))


def test_runs_that_were_there_before_and_those_of_others_count(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """The cluster is the queue: whoever stored a run, it waits in it."""
    stage.queue(count=2)
    one, other = open_queues(), open_queues()
    assert isinstance(submit(one), Accepted)
    until(lambda: isinstance(submit(other), QueueFullError))
    assert len(queued(stage)) <= 4, "one beyond the bound at most, while the watch was on its way"


def test_the_bound_on_all_queues_tells_nothing_of_the_others(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """It holds for definitions without a bound of their own, too."""
    submitter = open_queues(2)
    free = Definition("free", "busybox:1")
    assert isinstance(submit(submitter), Accepted)
    assert isinstance(submit(submitter, free), Accepted)
    refused = submit(submitter, free)
    assert isinstance(refused, QueueFullError)
    assert refused.definition is None


@pytest.mark.parametrize("refusal", [Refuse(422, "Invalid", "no"), Refuse(403, "Forbidden", "exceeded quota: x")])
def test_a_run_that_is_refused_gives_its_place_back(
    stage: Stage, open_queues: Callable[..., Submitter], refusal: Refuse
) -> None:
    """However often."""
    submitter = open_queues()
    stage.proxy.add(Fault(refusal, method="POST", path=CREATE, times=5))
    outcomes = [submit(submitter) for _ in range(8)]
    assert all(isinstance(outcome, InvalidError | CreateFailedError) for outcome in outcomes[:5])
    assert kinds(outcomes[5:]) == {"Accepted": 3}


def test_a_run_that_may_have_been_stored_keeps_its_place(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """It may wait, so it counts, until the watch has had the time to show it."""
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    fault = stage.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    lost = submit(submitter)
    assert isinstance(lost, CreateFailedError)
    assert lost.outcome_unknown
    stage.proxy.remove(fault)
    assert kinds([submit(submitter) for _ in range(2)]) == {"Accepted": 1, "QueueFullError": 1}


def test_a_run_whose_answer_was_lost_counts_once(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """The watch may show it before the next try finds it."""
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    stage.proxy.add(Fault(LoseAnswer(), method="POST", path=CREATE, times=1))
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 2, "QueueFullError": 1}


def test_a_call_that_was_accepted_is_repeated_at_a_full_queue(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """Its run has its place already; another key has none."""
    submitter = open_queues()
    outcomes = [submit(submitter, key=key) for key in ("a", "b", "c", "d", "a")]
    assert kinds(outcomes) == {"Accepted": 4, "QueueFullError": 1}
    assert isinstance(outcomes[4], Accepted)
    assert outcomes[4].replayed
    with stage.dispatching({"fib": 1}):
        until(lambda: len([job for job in stage.batch.list_namespaced_job(stage.name).items if job.status.succeeded]))
        replayed = submit(submitter, key="a")
    assert isinstance(replayed, Accepted)
    assert replayed.replayed


def test_concurrent_calls_with_one_key_take_one_place(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """They are one run."""
    submitter = open_queues()
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: submit(submitter, key="same"), range(8)))
    assert kinds(outcomes) == {"Accepted": 8}
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 2, "QueueFullError": 1}


def test_while_the_watch_is_broken_no_more_are_accepted_than_there_are_places(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """What it has shown last counts, with what has been stored since."""
    [listed] = stage.queue()
    submitter = open_queues()
    assert isinstance(submit(submitter), Accepted)
    stage.proxy.wait_for(is_watch)
    stage.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="GET", path=CREATE, times=None))
    stage.proxy.cut_watches()
    assert kinds([submit(submitter) for _ in range(9)]) == {"Accepted": 1, "QueueFullError": 8}
    stage.proxy.heal()
    stage.delete(listed)  # of another one the watch may have shown nothing: it counts until it could have been seen
    until(lambda: isinstance(submit(submitter), Accepted))


def test_however_long_the_watch_is_silent_no_more_are_accepted_than_there_are_places(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """A half-open connection looks like a quiet one: that it hasn't shown a run doesn't mean that there is none."""
    clock = Clock()
    submitter = open_queues(clock=clock)
    assert isinstance(submit(submitter), Accepted)
    stage.proxy.wait_for(lambda request: is_watch(request) and request.status == 200)
    stage.proxy.silence(watches_only=True)
    outcomes = [submit(submitter) for _ in range(5)]
    clock.now += 3600
    outcomes += [submit(submitter) for _ in range(5)]
    assert kinds(outcomes) == {"Accepted": 2, "QueueFullError": 8}
    assert len(queued(stage)) == 3
    stage.proxy.heal()
    stage.delete(queued(stage)[0])
    until(lambda: isinstance(submit(submitter), Accepted))


def test_a_run_that_is_never_seen_leaves_its_place_when_the_watch_shows_later_ones(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """It may have been stored, and wasn't."""
    clock = Clock()
    submitter = open_queues(clock=clock)
    assert isinstance(submit(submitter), Accepted)
    fault = stage.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    assert kinds([submit(submitter) for _ in range(3)]) == {"CreateFailedError": 2, "QueueFullError": 1}
    stage.proxy.remove(fault)
    assert isinstance(submit(submitter), QueueFullError)
    clock.now += 3600
    stage.queue("other")
    until(lambda: isinstance(submit(submitter), Accepted))
    assert kinds([submit(submitter) for _ in range(3)]) == {"Accepted": 1, "QueueFullError": 2}


def test_until_the_runs_are_listed_nothing_is_accepted(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """A bound that isn't known to be kept is none."""
    hold = Hold()
    stage.proxy.add(Fault(hold, method="GET", path=CREATE))
    submitter = open_queues()
    with pytest.raises(QueueUnknownError):
        submitter.submit(BOUNDED, b"")
    hold.release()
    assert isinstance(submit(submitter), Accepted)


def test_a_call_that_finds_no_thread_for_the_watch_does_not_close_the_queue(
    stage: Stage, open_queues: Callable[..., Submitter]
) -> None:
    """The next one begins to watch."""
    submitter = open_queues()
    with no_threads(), pytest.raises(RuntimeError):
        submitter.submit(BOUNDED, b"")
    assert isinstance(submit(submitter), Accepted)


def test_where_nothing_is_bounded_nothing_is_watched(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """And a run costs its one call."""
    assert isinstance(submit(open_queues(), Definition("fib", "busybox:1")), Accepted)
    assert [request.method for request in stage.proxy.requests] == ["POST"]
    assert not [thread for thread in threading.enumerate() if thread.name == "watch-queues" and thread.is_alive()]


def test_a_run_costs_one_call_where_its_queue_is_bounded(stage: Stage, open_queues: Callable[..., Submitter]) -> None:
    """No list for each, however many wait: one list and one watch for all."""
    submitter = open_queues()
    assert kinds([submit(submitter) for _ in range(9)]) == {"Accepted": 3, "QueueFullError": 6}
    calls = Counter(request.method for request in stage.proxy.requests if not request.watching)
    assert calls == {"POST": 3, "GET": 1}
