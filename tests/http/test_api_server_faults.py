"""What callers hear when the API server is away, slow, or says no; and that nothing is started twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes import client

from tests.http.clients import Caller, check_problem
from tests.support.faults import Action, Fault, FaultProxy, Hold, LoseAnswer, LoseRequest, Refuse, Truncate

JOBS = r"/jobs$"


def creates(proxy: FaultProxy) -> int:
    return sum(request.method == "POST" for request in proxy.requests)


def test_an_api_server_that_is_away_means_503_and_try_again(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """`Retry-After` says when, for starting and for reading alike."""
    proxy.refuse_connections()
    answers = [caller_by_proxy.post("/job/public"), caller_by_proxy.get("/job/public/aaaaaaaaaaaa")]
    for answer in answers:
        check_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0


def test_a_run_that_could_not_be_sent_is_known_not_to_be_stored(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """Without a connection there is no doubt: whoever repeats the call can't start a second run."""
    proxy.refuse_connections()
    assert "has not been stored" in check_problem(caller_by_proxy.post("/job/public"), 503)["detail"]


def test_a_run_that_may_have_been_sent_before_the_way_was_lost_stays_in_doubt(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """The tries after it never left, but the first one did."""
    hold = Hold()
    proxy.add(Fault(hold, method="POST", path=JOBS))
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(caller_by_proxy.post, "/job/public")
        hold.wait_held()
        proxy.refuse_connections()
        proxy.cut_all()
        detail = check_problem(call.result(30), 503)["detail"]
    assert "may or may not have been stored" in detail
    hold.release()
    proxy.wait_for(lambda request: request.status == 201)
    assert len(batch.list_namespaced_job(namespace).items) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (409, "Conflict"), (500, "InternalError"), (504, "Timeout")],
)
def test_a_read_that_the_api_server_can_not_do_means_503(
    caller_by_proxy: Caller, proxy: FaultProxy, status: int, reason: str
) -> None:
    """The API server's own words are for the log; and there is no talk of storing."""
    proxy.add(Fault(Refuse(status, reason, "etcd is on fire"), method="GET"))
    answer = caller_by_proxy.get("/job/public/aaaaaaaaaaaa")
    detail = check_problem(answer, 503)["detail"]
    assert "Retry-After" in answer.headers
    assert "etcd" not in detail
    assert "stored" not in detail


def test_an_answer_that_breaks_off_means_503(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """Half a Job is no Job."""
    location = caller_by_proxy.post("/job/public").headers["Location"]
    proxy.add(Fault(Truncate(100), method="GET"))
    check_problem(caller_by_proxy.get(location), 503)


def test_a_quota_means_429_at_once_and_that_nothing_is_stored(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """Asking again at once would not help; the caller is told to come back."""
    proxy.add(Fault(Refuse(403, "Forbidden", "exceeded quota: jobs"), method="POST", path=JOBS, times=None))
    answer = caller_by_proxy.post("/job/public")

    detail = check_problem(answer, 429)["detail"]
    assert detail == "a quota of the namespace is used up; the run has not been stored"
    assert answer.headers["Retry-After"] == "30"
    assert creates(proxy) == 1
    assert batch.list_namespaced_job(namespace).items == []


def test_a_busy_api_server_is_asked_again(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """The caller waits a moment longer and hears nothing of it."""
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=1), method="POST", path=JOBS, times=2))
    assert caller_by_proxy.post("/job/public").status_code == 202
    assert len(batch.list_namespaced_job(namespace).items) == 1


def test_what_a_busy_api_server_asks_for_is_passed_on(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """It is not asked again before that, nor is the caller told to."""
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=17), method="POST", path=JOBS, times=None))
    answer = caller_by_proxy.post("/job/public")
    detail = check_problem(answer, 503)["detail"]
    assert detail == "the Kubernetes API server is too busy; the run has not been stored"
    assert answer.headers["Retry-After"] == "17"
    assert creates(proxy) == 1


def test_an_api_server_that_stays_busy_means_503_and_that_nothing_is_stored(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """It has said of every try that it didn't look at it."""
    proxy.add(Fault(Refuse(429, "TooManyRequests"), method="POST", path=JOBS, times=None))
    answer = caller_by_proxy.post("/job/public")
    assert "has not been stored" in check_problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"]


def test_an_api_server_that_keeps_failing_leaves_it_open_whether_the_run_is_stored(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """A 500 may have come after the write."""
    proxy.add(Fault(Refuse(500, "InternalError"), method="POST", path=JOBS, times=None))
    assert "may or may not have been stored" in check_problem(caller_by_proxy.post("/job/public"), 503)["detail"]


@pytest.mark.parametrize("action", [LoseAnswer(), LoseRequest(), Truncate(10), Refuse(503, "ServiceUnavailable")])
def test_a_create_without_a_clear_answer_is_repeated_and_stores_one_run(
    caller_by_proxy: Caller,
    proxy: FaultProxy,
    batch: client.BatchV1Api,
    namespace: str,
    action: LoseAnswer | LoseRequest | Truncate | Refuse,
) -> None:
    """The name was chosen before the first try: finding it taken by our own mark is success."""
    proxy.add(Fault(action, method="POST", path=JOBS))
    answer = caller_by_proxy.post("/job/public")

    assert answer.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.metadata.name == answer.json["Name"]
    assert creates(proxy) == 2


@pytest.mark.parametrize(
    ("lost", "refused"),
    [
        (LoseAnswer(), Refuse(429, "TooManyRequests")),
        (LoseRequest(), Refuse(403, "Forbidden")),
        (LoseRequest(), Refuse(422, "Invalid")),
    ],
)
def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_is_stored(
    caller_by_proxy: Caller, proxy: FaultProxy, lost: Action, refused: Refuse
) -> None:
    """What is busy can't be asked, and what isn't there may still be on its way."""
    proxy.add(Fault(lost, method="POST", path=JOBS))
    proxy.add(Fault(refused, method="POST", path=JOBS, times=None))
    answer = caller_by_proxy.post("/job/public")

    assert "may or may not have been stored" in check_problem(answer, 503)["detail"]


def test_a_quota_that_the_run_itself_has_used_up_does_not_refuse_it(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """The first try was stored, and its answer lost: the second is refused for it."""
    proxy.add(Fault(LoseAnswer(), method="POST", path=JOBS))
    proxy.add(Fault(Refuse(403, "Forbidden", "exceeded quota: jobs"), method="POST", path=JOBS, times=None))
    answer = caller_by_proxy.post("/job/public")

    assert answer.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.metadata.name == answer.json["Name"]


def test_a_lost_answer_of_a_run_that_lives_but_a_moment_is_not_repeated(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """It could have come and gone before the second try, which would start it again."""
    proxy.add(Fault(LoseAnswer(), method="POST", path=JOBS))
    answer = caller_by_proxy.post("/job/public", '{"TtlSecondsAfterFinished": 0}')
    assert "may or may not have been stored" in check_problem(answer, 503)["detail"]
    assert creates(proxy) == 1


def test_a_run_that_kubernetes_does_not_accept_gets_422_with_its_reason(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """An admission policy's words are meant for the one whose run it refuses."""
    proxy.add(Fault(Refuse(422, "Invalid", "policy: no runs on Sundays"), method="POST", path=JOBS))
    answer = caller_by_proxy.post("/job/public")
    assert "no runs on Sundays" in check_problem(answer, 422)["detail"]
    assert creates(proxy) == 1
