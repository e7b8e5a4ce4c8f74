"""Listing and cancelling over HTTP: parameters, pages, and the calls that each request costs."""

import json
import re
from typing import Any

import pytest

from app.runs import reader
from tests.http.clients import Caller, check_problem
from tests.support.faults import FaultProxy
from tests.support.waiting import until


def ids(runs: Any) -> list[str]:
    return [run["Id"] for run in runs]


def follow(caller: Caller, path: str) -> list[Any]:
    pages = []
    while True:
        response = caller.get(path)
        assert response.status_code == 200, response.text
        pages.append(response.json)
        link = response.headers.get("Link")
        if link is None:
            return pages
        found = re.fullmatch(r'<(/job/[^>]*)>; rel="next"', link)
        assert found
        path = found[1]


def test_list__shows_the_newest_runs_first_in_pages(caller: Caller) -> None:
    """The link to the next page keeps limit and filter."""
    accepted = [caller.post("/job/public").json["Id"] for _ in range(5)]
    pages = follow(caller, "/job/public?limit=2&status=Queued&status=Failed")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [run_id for page in pages for run_id in ids(page)] == accepted[::-1]
    assert pages[0][0] == caller.get(f"/job/public/{accepted[-1]}").json
    assert caller.get("/job/public?status=Running").json == []


def test_list__continues_a_page_while_runs_are_added_and_deleted(caller: Caller) -> None:
    accepted = [caller.post("/job/public").json["Id"] for _ in range(4)]
    first = caller.get("/job/public?limit=2")
    caller.post("/job/public")
    caller.call("DELETE", f"/job/public/{accepted[2]}")
    rest = caller.get(first.headers["Link"].partition(">")[0][1:]).json
    assert ids(first.json) + ids(rest) == accepted[::-1]


def test_list__costs_the_same_calls_for_any_number_of_runs(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """One list of Jobs, and the dependency that all runs share."""
    for _ in range(12):
        caller_by_proxy.post("/job/public")

    def read_twice() -> list[str]:
        before = len(proxy.requests)
        for _ in range(2):
            assert len(caller_by_proxy.get("/job/public").json) == 12
        return sorted(request.path.rpartition("/")[2] for request in proxy.requests[before:])

    until(lambda: read_twice() == ["jobs", "nobody", "nobody"])  # a list serves for a second


def test_read__looks_up_many_dependencies_in_one_list(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
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
def test_list__with_an_invalid_parameter_gets_400(caller: Caller, query: str, words: str) -> None:
    assert words in check_problem(caller.get(f"/job/public?{query}"), 400)["detail"]


@pytest.mark.parametrize(
    "query", ["", "?status=Running", "?status=Queued&status=Running", "?Status=Queued", "?status="]
)
def test_empty__needs_exactly_status_queued(caller: Caller, query: str) -> None:
    location = caller.post("/job/public").headers["Location"]
    check_problem(caller.call("DELETE", f"/job/public{query}"), 400)
    assert caller.get(location).status_code == 200


def test_empty__deletes_all_queued_runs(caller: Caller) -> None:
    for _ in range(3):
        caller.post("/job/public")
    assert caller.call("DELETE", "/job/public?status=Queued").json == {"Deleted": 3, "Remaining": 0}


def test_cancel__returns_the_last_state_then_404(caller: Caller) -> None:
    location = caller.post("/job/public").headers["Location"]
    assert caller.call("DELETE", location).json["Reason"] == "Deleting"
    check_problem(caller.call("DELETE", location), 404)
    check_problem(caller.get(location), 404)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", "?status=Queued"), ("DELETE", "/aaaaaaaaaaaa")])
def test_runs_of_a_private_definition__get_403(caller: Caller, method: str, path: str) -> None:
    check_problem(caller.call(method, f"/job/private{path}"), 403)


def test_list__cuts_long_arguments_that_the_run_shows_whole(caller: Caller) -> None:
    """20 runs whose arguments take 40 kB each fit into one page."""
    body = json.dumps({"Args": ["$" * 40_000], "Environments": [{"Name": "A" * 3_000, "Value": "secret"}]})
    for _ in range(20):
        assert caller.post("/job/public", body).status_code == 202
    response = caller.get("/job/public")
    assert len(response.json) == 20
    assert len(response.data) < 100_000
    assert "Link" not in response.headers
    for run in response.json:
        assert (run["Args"], run["Truncated"]) == (["$" * 1024], ["Args", "Environments"])
    whole = caller.get(f"/job/public/{response.json[0]['Id']}").json
    assert (whole["Args"], whole["Truncated"]) == (["$" * 40_000], [])
    assert whole["Environments"][-1] == "A" * 3_000


def test_list__ends_a_page_before_it_is_too_long(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page goes on where it ends: no run is left out or shown twice."""
    monkeypatch.setattr(reader, "MAX_RUNS_BYTES", 2_500)
    accepted = [caller.post("/job/public", '{"Args": ["' + "a" * 900 + '"]}').json["Id"] for _ in range(4)]
    pages = follow(caller, "/job/public?status=Queued")
    assert [run_id for page in pages for run_id in ids(page)] == accepted[::-1]
    assert [len(page) for page in pages] == [1, 1, 1, 1]


def test_list__gives_its_memory_back(caller: Caller) -> None:
    """Also after a refusal."""
    for _ in range(100):
        assert caller.get("/job/public?limit=500").status_code == 200
        assert caller.get("/job/public?limit=501").status_code == 400
