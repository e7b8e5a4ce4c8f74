"""Accepting runs while the way to the API server fails: what is accepted is stored, once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes.client import Configuration

from app.api.problems import problem_of
from app.kube.errors import ClusterError, InvalidError, UnreachableError
from app.kube.transport import ApiTransport
from app.runs.create import CreateFailedError
from app.runs.limits.queue_limiter import QueueLimiter
from app.runs.submit import Accepted, Submitter
from schemas.configuration import parse_configuration
from schemas.definition import Definition
from tests.integration.dispatching import Stage
from tests.support.faults import Action, Fault, Hold, LoseAnswer, LoseRequest, Refuse, Truncate
from tests.support.ports import find_free_port

CREATE = r"/jobs$"

QUOTA_CONFLICT = Refuse(
    409,
    "Conflict",
    'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified; please apply your changes '
    "to the latest version and try again",
)
"""What the API server says where it has given up to count a create against a quota that others change all the time."""


def definition(extra: str = "") -> Definition:
    document = f'{{"Configurations": {{"fib": {{"Image": "busybox:1"{extra}}}}}}}'
    return parse_configuration(document)["fib"]


@pytest.fixture
def submit(stage: Stage) -> Callable[..., Accepted]:
    """Start a run, with pauses between the tries that take no time."""
    submitter = _submitter(stage, sleep=lambda seconds: None)

    def start(extra: str = "") -> Accepted:
        return submitter.submit(definition(extra), b"")

    return start


def _submitter(stage: Stage, sleep: Callable[[float], None]) -> Submitter:
    namespace = stage.connect()
    return Submitter(namespace, QueueLimiter(namespace, None), sleep=sleep)


def stored(stage: Stage) -> list[str]:
    return [str(job.metadata.name) for job in stage.batch.list_namespaced_job(stage.name).items]


@pytest.mark.parametrize(
    "action",
    [
        LoseAnswer(),
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
def test_a_create_that_fails_is_repeated_until_the_run_is_stored_once(
    stage: Stage, submit: Callable[..., Accepted], action: Action, times: int
) -> None:
    """Stored without an answer, never arrived, or refused for the moment: one run comes of it."""
    fault = stage.proxy.add(Fault(action, method="POST", path=CREATE, times=times))
    accepted = submit()
    assert stored(stage) == [accepted.name]
    assert stage.proxy.strikes(fault) == times or isinstance(action, LoseAnswer | Truncate)


def test_a_run_that_nobody_could_store_is_not_accepted(stage: Stage, submit: Callable[..., Accepted]) -> None:
    """The caller hears that it may or may not be there."""
    stage.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown
    assert stored(stage) == []


@pytest.mark.parametrize("refusal", [Refuse(429, "TooManyRequests"), QUOTA_CONFLICT], ids=lambda one: one.reason)
def test_a_run_that_was_refused_for_the_moment_is_known_not_to_be_stored(
    stage: Stage, submit: Callable[..., Accepted], refusal: Refuse
) -> None:
    """429 says that nobody has looked at it, a conflict that it was not counted against a quota: 503, in the end."""
    fault = stage.proxy.add(Fault(refusal, method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert not raised.value.outcome_unknown
    assert stage.proxy.strikes(fault) == 4
    problem = problem_of(raised.value)
    assert problem.status == 503
    assert problem.detail.endswith("; the run has not been stored")
    assert int(problem.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("status", "kind"), [(422, InvalidError), (403, ClusterError)])
def test_a_run_that_is_refused_is_not_tried_again(
    stage: Stage, submit: Callable[..., Accepted], status: int, kind: type[Exception]
) -> None:
    """What the API server doesn't want it won't want a moment later."""
    refusal = stage.proxy.add(Fault(Refuse(status, "Refused"), method="POST", path=CREATE, times=None))
    with pytest.raises(kind):
        submit()
    assert stage.proxy.strikes(refusal) == 1


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (422, "Invalid"), (409, "Conflict")])
def test_a_refusal_after_a_lost_answer_is_looked_into(
    stage: Stage, submit: Callable[..., Accepted], status: int, reason: str
) -> None:
    """The first try may have been stored, and be the very run that has used up the quota."""
    lost = stage.proxy.add(Fault(LoseAnswer(), method="POST", path=CREATE))
    stage.proxy.add(Fault(Refuse(status, reason), method="POST", path=CREATE, times=None))
    accepted = submit()
    assert stage.proxy.strikes(lost) == 1
    assert stored(stage) == [accepted.name]


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (422, "Invalid"), (409, "Conflict")])
def test_a_refusal_settles_no_doubt(stage: Stage, submit: Callable[..., Accepted], status: int, reason: str) -> None:
    """The first try isn't there, but may still be on its way."""
    stage.proxy.add(Fault(LoseRequest(), method="POST", path=CREATE))
    stage.proxy.add(Fault(Refuse(status, reason), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown
    assert stored(stage) == []


def test_a_run_that_may_be_gone_before_the_next_try_is_not_tried_again(
    stage: Stage, submit: Callable[..., Accepted]
) -> None:
    """It could have been stored, run and removed within the pause: a second try would start it twice."""
    lost = stage.proxy.add(Fault(LoseAnswer(), method="POST", path=CREATE, times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit(', "TtlSecondsAfterFinished": 1')
    assert raised.value.outcome_unknown
    assert stage.proxy.strikes(lost) == 1
    assert len(stored(stage)) == 1


@pytest.mark.parametrize("action", [LoseRequest(), Refuse(503, "ServiceUnavailable")])
def test_a_repeated_create_that_cannot_be_checked_is_not_accepted(
    stage: Stage, submit: Callable[..., Accepted], action: Action
) -> None:
    """The name is taken, most likely by the same call: nobody says 202 to what is most likely."""
    stage.proxy.add(Fault(LoseAnswer(), method="POST", path=CREATE))
    stage.proxy.add(Fault(action, method="GET", path="/jobs/", times=None))
    with pytest.raises(CreateFailedError) as raised:
        submit()
    assert raised.value.outcome_unknown


def test_a_connection_that_is_refused_is_tried_again_and_leaves_no_doubt(stage: Stage) -> None:
    """Nothing was sent: also a run that lives but a moment can be sent once more."""
    stage.proxy.refuse_connections()
    submitter = _submitter(stage, sleep=lambda seconds: stage.proxy.heal())
    accepted = submitter.submit(definition(', "TtlSecondsAfterFinished": 1'), b"")
    assert stored(stage) == [accepted.name]


def test_an_unknown_host_and_a_closed_port_mean_that_nothing_was_sent() -> None:
    """Whatever is asked, and however it is asked."""
    for url in (f"http://127.0.0.1:{find_free_port()}", "http://api-server.invalid"):
        with pytest.raises(UnreachableError) as raised:
            ApiTransport(Configuration(host=url), "default").call("POST", "/apis")
        assert (raised.value.outcome_unknown, raised.value.retryable) == (False, True)


def test_one_key_over_a_bad_network_makes_one_run(stage: Stage) -> None:
    """Two replicas, answers and requests lost, each caller repeating its call until it is accepted: one Job."""
    for action in (LoseAnswer(), LoseRequest(), Refuse(503, "ServiceUnavailable"), Truncate(50)):
        stage.proxy.add(Fault(action, method="POST", path=CREATE, every=4, times=8))
    stage.proxy.add(Fault(LoseAnswer(), method="GET", every=3, times=8))
    submitters = [_submitter(stage, sleep=lambda seconds: None) for _ in range(2)]

    def call(number: int) -> Accepted:
        for _ in range(100):
            try:
                return submitters[number % 2].submit(definition(), b"", key="one")
            except CreateFailedError:
                continue
        raise AssertionError("never accepted")

    with ThreadPoolExecutor(16) as callers:
        accepted = list(callers.map(call, range(50)))
    assert {run.name for run in accepted} == set(stored(stage))
    assert len(stored(stage)) == 1
    assert sum(not run.replayed for run in accepted) <= 1


def test_the_first_try_arrives_after_the_second(stage: Stage, submit: Callable[..., Accepted]) -> None:
    """A request that the network held back finds the name taken: still one run."""
    hold = Hold()
    stage.proxy.add(Fault(hold, method="POST", path=CREATE))
    accepted: list[Accepted] = []
    caller = threading.Thread(target=lambda: accepted.append(submit()))
    caller.start()
    hold.wait_held()
    stage.proxy.cut_all()
    caller.join(20)
    hold.release()
    late = stage.proxy.wait_for(lambda request: request.method == "POST" and request.status == 409)
    assert late
    assert stored(stage) == [run.name for run in accepted]


def test_many_callers_at_once_over_a_bad_network(stage: Stage, submit: Callable[..., Accepted]) -> None:
    """Every accepted run is there once; what else is there belongs to calls that were told that it may be."""

    def call(_: int) -> Accepted | CreateFailedError:
        try:
            return submit()
        except CreateFailedError as error:
            return error

    for action in (LoseAnswer(), LoseRequest(), Refuse(503, "ServiceUnavailable")):
        stage.proxy.add(Fault(action, method="POST", path=CREATE, every=5, times=8))
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(call, range(40)))
    accepted = {answer.name for answer in answers if isinstance(answer, Accepted)}
    doubtful = [answer for answer in answers if isinstance(answer, CreateFailedError) and answer.outcome_unknown]
    assert len(accepted) + len(doubtful) == 40
    assert accepted <= set(stored(stage))
    assert len(stored(stage)) <= len(accepted) + len(doubtful)
