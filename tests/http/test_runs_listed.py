"""Listing and cancelling over HTTP: parameters, pages, and what each call costs."""

import re
from typing import Any

import pytest

from tests.http.clients import Caller, check_problem
from tests.support.faults import FaultProxy


def ids(runs: Any) -> list[str]:
    return [run["Id"] for run in runs]


def follow(caller: Caller, path: str) -> list[Any]:
    pages = []
    while True:
        answer = caller.get(path)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json)
        link = answer.headers.get("Link")
        if link is None:
            return pages
        found = re.fullmatch(r'<(/job/[^>]*)>; rel="next"', link)
        assert found
        path = found[1]


def test_runs_are_listed_from_the_newest_to_the_oldest_page_by_page(caller: Caller) -> None:
    """Each is what its own address shows; the link keeps limit and filter."""
    accepted = [caller.post("/job/public").json["Id"] for _ in range(5)]
    pages = follow(caller, "/job/public?limit=2&status=Queued&status=Failed")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [run_id for page in pages for run_id in ids(page)] == accepted[::-1]
    assert pages[0][0] == caller.get(f"/job/public/{accepted[-1]}").json
    assert caller.get("/job/public?status=Running").json == []


def test_a_page_goes_on_where_the_one_before_ended(caller: Caller) -> None:
    """Runs that come, and one that goes at the very place, disturb nobody."""
    accepted = [caller.post("/job/public").json["Id"] for _ in range(4)]
    first = caller.get("/job/public?limit=2")
    caller.post("/job/public")
    caller.call("DELETE", f"/job/public/{accepted[2]}")
    rest = caller.get(first.headers["Link"].partition(">")[0][1:]).json
    assert ids(first.json) + ids(rest) == accepted[::-1]


def test_a_list_costs_the_same_calls_however_many_runs_it_has(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """One list of Jobs, and the dependency that all wait for."""
    for _ in range(12):
        caller_by_proxy.post("/job/public")
    before = len(proxy.requests)
    assert len(caller_by_proxy.get("/job/public").json) == 12
    assert len(caller_by_proxy.get("/job/public").json) == 12
    paths = [request.path.rpartition("/")[2] for request in proxy.requests[before:]]
    assert sorted(paths) == ["jobs", "nobody", "nobody"]


def test_many_dependencies_are_found_in_one_list(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """A caller that names thirty workloads doesn't make us ask sixty times."""
    names = ", ".join(f'"w{number}"' for number in range(30))
    location = caller_by_proxy.post("/job/public", f'{{"DependsOn": [{names}]}}').headers["Location"]
    before = len(proxy.requests)
    assert "w29 (not found)" in caller_by_proxy.get(location).json["Message"]
    assert len(proxy.requests) - before == 4


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=queued", "Queued, Pending, Running"),
        ("status=", "status"),
        ("continue=", "continue"),
        ("continue=!!", "continue"),
        ("statuz=Queued", "did you mean status?"),
        ("%FF=1", "unknown query parameter"),
    ],
)
def test_a_parameter_that_is_not_right_is_refused(caller: Caller, query: str, words: str) -> None:
    """In words that help."""
    assert words in check_problem(caller.get(f"/job/public?{query}"), 400)["detail"]


@pytest.mark.parametrize(
    "query", ["", "?status=Running", "?status=Queued&status=Running", "?Status=Queued", "?status="]
)
def test_a_queue_is_not_emptied_by_accident(caller: Caller, query: str) -> None:
    """Who doesn't say exactly that queued runs are meant deletes none."""
    location = caller.post("/job/public").headers["Location"]
    check_problem(caller.call("DELETE", f"/job/public{query}"), 400)
    assert caller.get(location).status_code == 200


def test_a_queue_is_emptied_over_http(caller: Caller) -> None:
    """And says how many there were."""
    for _ in range(3):
        caller.post("/job/public")
    assert caller.call("DELETE", "/job/public?status=Queued").json == {"Deleted": 3, "Remaining": 0}


def test_a_run_is_cancelled_over_http(caller: Caller) -> None:
    """200 with its last state, then 404."""
    location = caller.post("/job/public").headers["Location"]
    assert caller.call("DELETE", location).json["Reason"] == "Deleting"
    check_problem(caller.call("DELETE", location), 404)
    check_problem(caller.get(location), 404)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", "?status=Queued"), ("DELETE", "/aaaaaaaaaaaa")])
def test_private_runs_are_nobodys_business(caller: Caller, method: str, path: str) -> None:
    """For every verb."""
    check_problem(caller.call(method, f"/job/private{path}"), 403)
