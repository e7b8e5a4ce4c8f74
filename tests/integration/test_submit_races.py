"""Accepting runs while the connection to the API server fails: an accepted run is stored exactly once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.api.problems import problem_of
from app.kube.api_server import ApiServer
from app.kube.errors import ClusterError, InvalidError, UnreachableError
from app.kube.transport import ApiTransport
from app.runs.create import CreateFailedError
from app.runs.limits.queue_limiter import QueueLimiter
from app.runs.retry_budget import RetryPolicy
from app.runs.submit import Accepted, Submitter
from schemas.configuration import parse_configuration
from schemas.definition import Definition
from tests.integration.dispatching import ClusterFixture
from tests.support.faults import Action, Fault, Hold, LoseRequest, LoseResponse, Refuse, Truncate
from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS

CREATE = r"/jobs$"

QUOTA_CONFLICT = Refuse(
    409,
    "Conflict",
    'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified; please apply your changes '
    "to the latest version and try again",
)
"""What the API server answers when many creates count against one quota at the same time."""


def definition(extra: str = "") -> Definition:
    document = f'{{"Configurations": {{"fib": {{"Image": "busybox:1"{extra}}}}}}}'
    return parse_configuration(document)["fib"]


@pytest.fixture
def submit(cluster: ClusterFixture) -> Callable[..., Accepted]:
    """Start a run, with retries that wait no time."""
    submitter = _submitter(cluster, sleep=lambda seconds: None)

    def start(extra: str = "") -> Accepted:
        return submitter.submit(definition(extra), b"")

    return start


def _submitter(cluster: ClusterFixture, sleep: Callable[[float], None]) -> Submitter:
    namespace = cluster.connect()
    return Submitter(
        namespace, QueueLimiter(namespace, None, 2**28), retry_policy=RetryPolicy(sleep=sleep, clock=lambda: 0.0)
    )


def stored(cluster: ClusterFixture) -> list[str]:
    return [str(job.metadata.name) for job in cluster.batch.list_namespaced_job(cluster.namespace).items]


@pytest.mark.parametrize(
    "action",
    [
        LoseResponse(),
        LoseRequest(),
        Truncate(50),
        Refuse(500, "InternalError"),
        Refuse(503, "ServiceUnavailable"),
        Refuse(429, "TooManyRequests"),
        QUOTA_CONFLICT,
        Refuse(200, "SomeProxy"),
    ],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'status', '')}",
)
@pytest.mark.parametrize("times", [1, 3])
def test_submit__retries_a_failed_create_until_the_run_is_stored_once(
    cluster: ClusterFixture, submit: Callable[..., Accepted], action: Action, times: int
) -> None:
    """The response was lost, the request was lost, or the API server refused it for the moment."""
    fault = cluster.proxy.add(Fault(action, method="POST", path=CREATE, times=times))
    accepted = submit()
    assert stored(cluster) == [accepted.name]
    assert cluster.proxy.hits(fault) == times or isinstance(action, LoseResponse | Truncate)


def test_submit__says_that_the_outcome_is_unknown_where_every_request_is_lost(
    cluster: ClusterFixture, submit: Callable[..., Accepted]
) -> None:
    cluster.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown
    assert stored(cluster) == []


@pytest.mark.parametrize("refusal", [Refuse(429, "TooManyRequests"), QUOTA_CONFLICT], ids=lambda one: one.reason)
def test_submit__knows_that_nothing_is_stored_where_every_create_is_refused_for_the_moment(
    cluster: ClusterFixture, submit: Callable[..., Accepted], refusal: Refuse
) -> None:
    """After a 429 or a quota conflict the API server has stored nothing. The caller gets 503."""
    fault = cluster.proxy.add(Fault(refusal, method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert not raised.value.outcome_unknown
    assert cluster.proxy.hits(fault) == 4
    problem = problem_of(raised.value)
    assert problem.status == 503
    assert problem.detail.endswith("; the run has not been stored")
    assert int(problem.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("status", "kind"), [(422, InvalidError), (403, ClusterError)])
def test_submit__does_not_retry_a_refusal(
    cluster: ClusterFixture, submit: Callable[..., Accepted], status: int, kind: type[Exception]
) -> None:
    refusal = cluster.proxy.add(Fault(Refuse(status, "Refused"), method="POST", path=CREATE, times=None))
    with pytest.raises(kind):
        submit()
    assert cluster.proxy.hits(refusal) == 1


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (422, "Invalid"), (409, "Conflict")])
def test_submit__finds_the_run_of_an_earlier_attempt_where_a_retry_is_refused(
    cluster: ClusterFixture, submit: Callable[..., Accepted], status: int, reason: str
) -> None:
    """The run of the first attempt may have used up the quota."""
    lost = cluster.proxy.add(Fault(LoseResponse(), method="POST", path=CREATE))
    cluster.proxy.add(Fault(Refuse(status, reason), method="POST", path=CREATE, times=None))
    accepted = submit()
    assert cluster.proxy.hits(lost) == 1
    assert stored(cluster) == [accepted.name]


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (422, "Invalid"), (409, "Conflict")])
def test_submit__stays_in_doubt_where_a_retry_is_refused_and_no_run_is_found(
    cluster: ClusterFixture, submit: Callable[..., Accepted], status: int, reason: str
) -> None:
    """The first attempt may still be on its way."""
    cluster.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE))
    cluster.proxy.add(Fault(Refuse(status, reason), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown
    assert stored(cluster) == []


def test_submit__does_not_retry_a_run_with_a_short_ttl_after_a_lost_response(
    cluster: ClusterFixture, submit: Callable[..., Accepted]
) -> None:
    """It could have been stored, run and removed before the retry, which would start it twice."""
    lost = cluster.proxy.add(Fault(LoseResponse(), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit(', "TtlSecondsAfterFinished": 1')
    assert raised.value.outcome_unknown
    assert cluster.proxy.hits(lost) == 1
    assert len(stored(cluster)) == 1


@pytest.mark.parametrize("action", [LoseRequest(), Refuse(503, "ServiceUnavailable")])
def test_submit__stays_in_doubt_where_the_name_is_taken_and_its_job_cannot_be_read(
    cluster: ClusterFixture, submit: Callable[..., Accepted], action: Action
) -> None:
    """The Job is most likely the first attempt's, but that is not certain."""
    cluster.proxy.add(Fault(LoseResponse(), method="POST", path=CREATE))
    cluster.proxy.add(Fault(action, method="GET", path="/jobs/", times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown


def test_submit__retries_any_run_where_the_connection_was_refused(cluster: ClusterFixture) -> None:
    """Nothing was sent, so even a run with a short TTL can be sent again."""
    cluster.proxy.refuse_connections()
    submitter = _submitter(cluster, sleep=lambda seconds: cluster.proxy.heal())
    accepted = submitter.submit(definition(', "TtlSecondsAfterFinished": 1'), b"")
    assert stored(cluster) == [accepted.name]


def test_call__knows_that_nothing_was_sent_to_an_unknown_host_or_a_closed_port() -> None:
    for url in (f"http://127.0.0.1:{find_free_port()}", "http://api-server.invalid"):
        with pytest.raises(UnreachableError) as raised:
            ApiTransport(ApiServer(url), "default").call("POST", "/apis")
        assert (raised.value.outcome_unknown, raised.value.retryable) == (False, True)


def test_submit__stores_one_run_for_one_key_over_a_bad_network(cluster: ClusterFixture) -> None:
    """Two replicas, lost requests and responses, and callers that repeat their request until it is accepted."""
    for action in (LoseResponse(), LoseRequest(), Refuse(503, "ServiceUnavailable"), Truncate(50)):
        cluster.proxy.add(Fault(action, method="POST", path=CREATE, every=4, times=8))
    cluster.proxy.add(Fault(LoseResponse(), method="GET", every=3, times=8))
    submitters = [_submitter(cluster, sleep=lambda seconds: None) for _ in range(2)]

    def call(number: int) -> Accepted:
        for _ in range(100):
            try:
                return submitters[number % 2].submit(definition(), b"", key="one")
            except CreateFailedError:
                continue
        raise AssertionError("never accepted")

    with ThreadPoolExecutor(16) as callers:
        accepted = list(callers.map(call, range(50)))
    assert {run.name for run in accepted} == set(stored(cluster))
    assert len(stored(cluster)) == 1
    assert sum(not run.replayed for run in accepted) <= 1


def test_submit__stores_one_run_where_the_first_attempt_arrives_after_the_second(
    cluster: ClusterFixture, submit: Callable[..., Accepted]
) -> None:
    """The late request finds the name taken."""
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="POST", path=CREATE))
    accepted: list[Accepted] = []
    caller = threading.Thread(target=lambda: accepted.append(submit()))
    caller.start()
    hold.wait_held()
    cluster.proxy.cut_all()
    caller.join(DEADLINE_SECONDS)
    hold.release()
    late = cluster.proxy.wait_for(lambda request: request.method == "POST" and request.status == 409)
    assert late
    assert stored(cluster) == [run.name for run in accepted]


def test_submit__stores_each_accepted_run_of_many_callers_over_a_bad_network(
    cluster: ClusterFixture, submit: Callable[..., Accepted]
) -> None:
    """Every accepted run is stored once. Any other stored run belongs to a request whose outcome was said unknown."""

    def call(_: int) -> Accepted | CreateFailedError:
        try:
            return submit()
        except CreateFailedError as error:
            return error

    for action in (LoseResponse(), LoseRequest(), Refuse(503, "ServiceUnavailable")):
        cluster.proxy.add(Fault(action, method="POST", path=CREATE, every=5, times=8))
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(call, range(40)))
    accepted = {answer.name for answer in answers if isinstance(answer, Accepted)}
    doubtful = [answer for answer in answers if isinstance(answer, CreateFailedError) and answer.outcome_unknown]
    assert len(accepted) + len(doubtful) == 40
    assert accepted <= set(stored(cluster))
    assert len(stored(cluster)) <= len(accepted) + len(doubtful)
