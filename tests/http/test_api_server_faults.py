"""Responses when the API server is unreachable, slow or refuses; no run is started twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes import client

from tests.http.clients import Caller, check_problem
from tests.support.faults import Action, Fault, FaultProxy, Hold, LoseRequest, LoseResponse, Refuse, Truncate
from tests.support.waiting import DEADLINE_SECONDS

JOBS = r"/jobs$"


def creates(proxy: FaultProxy) -> int:
    return sum(request.method == "POST" for request in proxy.requests)


def test_unreachable_api_server__gives_503_with_retry_after(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    responses = [caller_by_proxy.post("/job/public"), caller_by_proxy.get("/job/public/aaaaaaaaaaaa")]
    for response in responses:
        check_problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0


def test_unreachable_api_server__means_that_nothing_is_stored(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """Without a connection the request cannot have been sent."""
    proxy.refuse_connections()
    assert "has not been stored" in check_problem(caller_by_proxy.post("/job/public"), 503)["detail"]


def test_lost_connection__leaves_the_run_in_doubt(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """Later attempts never left, but the first one did."""
    hold = Hold()
    proxy.add(Fault(hold, method="POST", path=JOBS))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(caller_by_proxy.post, "/job/public")
        hold.wait_held()
        proxy.refuse_connections()
        proxy.cut_all()
        detail = check_problem(call.result(DEADLINE_SECONDS), 503)["detail"]
    assert "may or may not have been stored" in detail
    hold.release()
    proxy.wait_for(lambda request: request.status == 201)
    assert len(batch.list_namespaced_job(namespace).items) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (409, "Conflict"), (500, "InternalError"), (504, "Timeout")],
)
def test_failed_read__gives_503(caller_by_proxy: Caller, proxy: FaultProxy, status: int, reason: str) -> None:
    """The API server's message goes only to the log."""
    proxy.add(Fault(Refuse(status, reason, "etcd is on fire"), method="GET"))
    response = caller_by_proxy.get("/job/public/aaaaaaaaaaaa")
    detail = check_problem(response, 503)["detail"]
    assert "Retry-After" in response.headers
    assert "etcd" not in detail
    assert "stored" not in detail


def test_truncated_response__gives_503(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    location = caller_by_proxy.post("/job/public").headers["Location"]
    proxy.add(Fault(Truncate(100), method="GET"))
    check_problem(caller_by_proxy.get(location), 503)


def test_quota__gives_429_without_a_retry(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    proxy.add(Fault(Refuse(403, "Forbidden", "exceeded quota: jobs"), method="POST", path=JOBS, times=None))
    response = caller_by_proxy.post("/job/public")

    detail = check_problem(response, 429)["detail"]
    assert detail == "a quota of the namespace is used up; the run has not been stored"
    assert response.headers["Retry-After"] == "30"
    assert creates(proxy) == 1
    assert batch.list_namespaced_job(namespace).items == []


def test_busy_api_server__is_asked_again(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=1), method="POST", path=JOBS, times=2))
    assert caller_by_proxy.post("/job/public").status_code == 202
    assert len(batch.list_namespaced_job(namespace).items) == 1


def test_busy_api_server__has_its_long_retry_after_passed_on(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """It is not asked again before that time."""
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=17), method="POST", path=JOBS, times=None))
    response = caller_by_proxy.post("/job/public")
    detail = check_problem(response, 503)["detail"]
    assert detail == "the Kubernetes API server is too busy; the run has not been stored"
    assert response.headers["Retry-After"] == "17"
    assert creates(proxy) == 1


def test_api_server_that_stays_busy__gives_503_and_nothing_is_stored(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """It has refused each attempt unread."""
    proxy.add(Fault(Refuse(429, "TooManyRequests"), method="POST", path=JOBS, times=None))
    response = caller_by_proxy.post("/job/public")
    assert "has not been stored" in check_problem(response, 503)["detail"]
    assert response.headers["Retry-After"]


def test_api_server_that_keeps_failing__leaves_the_run_in_doubt(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """A 500 may follow the write."""
    proxy.add(Fault(Refuse(500, "InternalError"), method="POST", path=JOBS, times=None))
    assert "may or may not have been stored" in check_problem(caller_by_proxy.post("/job/public"), 503)["detail"]


@pytest.mark.parametrize("action", [LoseResponse(), LoseRequest(), Truncate(10), Refuse(503, "ServiceUnavailable")])
def test_create_with_unknown_outcome__is_repeated_and_stores_one_run(
    caller_by_proxy: Caller,
    proxy: FaultProxy,
    batch: client.BatchV1Api,
    namespace: str,
    action: LoseResponse | LoseRequest | Truncate | Refuse,
) -> None:
    """The name is chosen before the first attempt, so the second attempt finds the first one's Job."""
    proxy.add(Fault(action, method="POST", path=JOBS))
    response = caller_by_proxy.post("/job/public")

    assert response.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.metadata.name == response.json["Name"]
    assert creates(proxy) == 2


@pytest.mark.parametrize(
    ("lost", "refused"),
    [
        (LoseResponse(), Refuse(429, "TooManyRequests")),
        (LoseRequest(), Refuse(403, "Forbidden")),
        (LoseRequest(), Refuse(422, "Invalid")),
    ],
)
def test_refusal_after_a_lost_response__leaves_the_run_in_doubt(
    caller_by_proxy: Caller, proxy: FaultProxy, lost: Action, refused: Refuse
) -> None:
    """The first attempt may still be stored."""
    proxy.add(Fault(lost, method="POST", path=JOBS))
    proxy.add(Fault(refused, method="POST", path=JOBS, times=None))
    response = caller_by_proxy.post("/job/public")

    assert "may or may not have been stored" in check_problem(response, 503)["detail"]


def test_quota_used_up_by_the_run_itself__does_not_refuse_it(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """The first attempt was stored, but its response was lost."""
    proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    proxy.add(Fault(Refuse(403, "Forbidden", "exceeded quota: jobs"), method="POST", path=JOBS, times=None))
    response = caller_by_proxy.post("/job/public")

    assert response.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.metadata.name == response.json["Name"]


def test_create_of_a_run_without_ttl__is_not_repeated(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """The Job may have ended and be deleted before the second attempt, which would start it again."""
    proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    response = caller_by_proxy.post("/job/public", '{"TtlSecondsAfterFinished": 0}')
    assert "may or may not have been stored" in check_problem(response, 503)["detail"]
    assert creates(proxy) == 1


def test_run_that_kubernetes_refuses__gets_422_with_the_reason(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.add(Fault(Refuse(422, "Invalid", "policy: no runs on Sundays"), method="POST", path=JOBS))
    response = caller_by_proxy.post("/job/public")
    assert "no runs on Sundays" in check_problem(response, 422)["detail"]
    assert creates(proxy) == 1
