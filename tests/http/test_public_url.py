"""Behind a proxy that removes a path prefix, every URL that the service sends has it."""

from ipaddress import ip_network
from typing import Any

import pytest

from tests.http.clients import MakeCaller, RawClient, check_problem
from tests.support.service import ServiceProcess

PROXY = (ip_network("203.0.113.7/32"),)
"""The address of the test client."""


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"path_prefix": "/batch/v1"}, {}),
        ({"path_prefix": "/batch/v1", "trusted_proxies": PROXY}, {"X-Forwarded-Prefix": "/other"}),
        ({"trusted_proxies": PROXY}, {"X-Forwarded-Prefix": "/batch/v1"}),
        ({"trusted_proxies": PROXY}, {"X-Forwarded-Prefix": "/batch/v1/"}),
    ],
    ids=["a setting", "a setting before a header", "a trusted proxy's header", "with a final slash"],
)
def test_prefix__is_in_every_url(make_caller: MakeCaller, settings: dict[str, Any], headers: dict[str, str]) -> None:
    caller = make_caller(**settings, public_listing=True)
    accepted = [caller.post("/job/public", headers=headers) for _ in range(2)]
    assert accepted[0].headers["Location"] == f"/batch/v1/job/public/{accepted[0].json['Id']}"
    page = caller.get("/job/public?limit=1", headers=headers)
    assert page.headers["Link"].startswith("</batch/v1/job/public?limit=1&continue=")
    document = caller.get("/openapi.json", headers=headers)
    assert document.json["servers"] == [{"url": "/batch/v1"}]
    assert ">http://localhost/batch/v1</" in caller.get("/docs", headers=headers).text
    assert caller.get("/", headers=headers).json["Docs"] == "/batch/v1/docs"
    browser = caller.get("/", headers={**headers, "Accept": "text/html"})
    assert browser.headers["Location"] == "/batch/v1/ui"
    assert caller.get("/job/public/", headers=headers).headers["Location"] == "/batch/v1/job/public"


def test_prefix__is_not_removed_here(make_caller: MakeCaller) -> None:
    """A path has one spelling, so that rules of a proxy for a path hold."""
    check_problem(make_caller(path_prefix="/batch").post("/batch/job/public"), 404)


@pytest.mark.parametrize("prefix", ["//evil.example", "https://evil.example", "javascript:alert(1)", "/a, /b", "/.."])
def test_prefix__that_is_hostile_is_ignored(make_caller: MakeCaller, prefix: str) -> None:
    response = make_caller(trusted_proxies=PROXY).post("/job/public", headers={"X-Forwarded-Prefix": prefix})
    assert response.headers["Location"].startswith("/job/public/")


def test_prefix__of_a_stranger_is_ignored(live: ServiceProcess) -> None:
    for header in ("X-Forwarded-Prefix", "SCRIPT_NAME", "Script-Name", "X-Script-Name", "X_Forwarded_Prefix"):
        with RawClient(live.port) as connection:
            response = connection.send_request("POST", "/job/public", f"{header}: /evil").answer()
            assert response.status == 202
            assert (response.headers["Location"] or "").startswith("/job/public/")
