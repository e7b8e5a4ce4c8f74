"""What a person types first: the service's root, and paths with one slash too many."""

import pytest

from tests.http.clients import Caller, check_problem


def test_root__leads_a_browser_to_the_page(caller: Caller) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    response = caller.get("/", headers={"Accept": accept})
    assert (response.status_code, response.headers["Location"]) == (302, "/ui")
    assert "Accept" in response.vary


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "image/png"])
def test_root__tells_programs_where_to_go_on(caller: Caller, accept: str) -> None:
    response = caller.get("/", headers={"Accept": accept})
    assert response.json == {"Docs": "/docs", "OpenApi": "/openapi.json", "Status": "/jobs/status", "Ui": "/ui"}
    assert all(caller.get(path).status_code == 200 for path in response.json.values())


@pytest.mark.parametrize(
    ("method", "target", "location"),
    [
        ("GET", "/job/public/", "/job/public"),
        ("HEAD", "/job/public/?limit=1&status=Queued", "/job/public?limit=1&status=Queued"),
        ("DELETE", "/job/public/?status=Queued", "/job/public?status=Queued"),
        ("GET", "/job/public/aaaaaaaaaaaa/", "/job/public/aaaaaaaaaaaa"),
        ("GET", "/job/public/aaaaaaaaaaaa/logs/", "/job/public/aaaaaaaaaaaa/logs"),
        ("GET", "/jobs/status/", "/jobs/status"),
        ("GET", "/docs/", "/docs"),
    ],
)
def test_final_slash__leads_to_the_path_without_it(caller: Caller, method: str, target: str, location: str) -> None:
    response = caller.call(method, target)
    assert (response.status_code, response.headers["Location"]) == (308, location)
    if method != "HEAD":
        assert f"use {location.partition('?')[0]}" in check_problem(response)["detail"]


@pytest.mark.parametrize("target", ["/job/", "/job/public//", "/unknown/", "/jobs/status//"])
def test_final_slash__of_an_unknown_path_gets_404_or_405(caller: Caller, target: str) -> None:
    response = caller.get(target)
    assert response.status_code in (404, 405)
    assert "Location" not in response.headers


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity, gzip", "x-gzip", "br", "unknown"])
def test_encoded_body__gets_415_with_what_is_accepted(caller: Caller, coding: str) -> None:
    response = caller.post("/job/public", b"\x1f\x8b\x08", headers={"Content-Encoding": coding})
    assert "Content-Encoding" in check_problem(response, 415)["detail"]
    assert response.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity , identity", ""])
def test_plain_body__may_say_that_it_is_plain(caller: Caller, coding: str) -> None:
    assert caller.post("/job/public", b"{}", headers={"Content-Encoding": coding}).status_code == 202
