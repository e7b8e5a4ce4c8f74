"""`app.auth.origins`: which requests come from pages of other sites, and which host names are the service's own."""

import re
from typing import Any

import pytest

from app.auth.origins import BrowserRequest, is_foreign, is_own_host, parse_host, parse_origin


def request(host: str = "jobs.example", method: str = "POST", **headers: str | None) -> BrowserRequest:
    return BrowserRequest(method=method, host=host, **headers)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://jobs.example", "jobs.example"),
        ("https://jobs.example", "jobs.example:443"),
        ("http://jobs.example", "jobs.example:80"),
        ("https://JOBS.example:443", "Jobs.Example"),
        ("http://localhost:30021", "localhost:30021"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("http://10.0.0.7:5000", "10.0.0.7:5000"),
    ],
)
def test_is_foreign__accepts_an_origin_of_the_services_own_host(origin: str, host: str) -> None:
    assert not is_foreign(request(host, origin=origin))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "jobs.example"),
        ("https://jobs.example.evil.example", "jobs.example"),
        ("https://evil-jobs.example", "jobs.example"),
        ("https://jobs.example:8443", "jobs.example"),
        ("https://jobs.example", "jobs.example:80"),
        ("http://localhost:3000", "localhost:30021"),
        ("http://localhost", "localhost:30021"),
        ("http://127.0.0.1:5000", "localhost:5000"),
        ("http://[::1]:5000", "[::2]:5000"),
        ("null", "jobs.example"),
        ("null", "null"),
        ("", "jobs.example"),
        ("https://jobs.example,https://evil.example", "jobs.example"),
        ("https://jobs.example https://evil.example", "jobs.example"),
        ("https://jobs.example/", "jobs.example"),
        ("https://evil.example@jobs.example", "jobs.example"),
        ("https://jobs.example\\@evil.example", "jobs.example"),
        ("ftp://jobs.example", "jobs.example"),
        ("chrome-extension://jobs.example", "jobs.example"),
        ("https://jobs.example", ""),
        ("https://jobs.example", "jobs.example, evil.example"),
        ("https://jobs.example", "evil.example/@jobs.example"),
        ("https://j\u00f6bs.example", "j\u00f6bs.example"),
    ],
)
def test_is_foreign__refuses_every_other_origin(origin: str, host: str) -> None:
    assert is_foreign(request(host, origin=origin))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin", "same-origin,cross-site", "unknown"])
def test_is_foreign__refuses_every_site_but_its_own(site: str) -> None:
    assert is_foreign(request(site=site))
    assert is_foreign(request(site=site, origin="https://jobs.example"))
    assert is_foreign(request(method="GET", site=site, mode="no-cors", destination="image"))


@pytest.mark.parametrize("site", ["same-origin", "none"])
@pytest.mark.parametrize("origin", [None, "null", "https://jobs.example", "https://name-behind-which.proxy.example"])
def test_is_foreign__believes_the_browser_that_a_page_is_the_services_own(site: str, origin: str | None) -> None:
    """Also where a proxy has changed the host, and where a referrer policy has made the origin `null`."""
    assert not is_foreign(request("slimfaas:5000", site=site, origin=origin))


def test_is_foreign__accepts_programs() -> None:
    assert not is_foreign(request())
    assert not is_foreign(request(""))


LINK: dict[str, Any] = {"method": "GET", "site": "cross-site", "mode": "navigate", "destination": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_is_foreign__accepts_a_followed_link(site: str, method: str) -> None:
    assert not is_foreign(request(**{**LINK, "site": site, "method": method}))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"method": "DELETE"},
        {"destination": "iframe"},
        {"destination": "object"},
        {"destination": None},
        {"mode": "no-cors"},
        {"mode": "cors"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_is_foreign__takes_nothing_else_for_a_followed_link(change: dict[str, Any]) -> None:
    assert is_foreign(request(**{**LINK, **change}))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:30021", "localhost.", "app.localhost:5000", "127.0.0.1:5000", "[::1]:5000", None]
)
@pytest.mark.parametrize("listener", ["127.0.0.1", "::1", "127.0.0.2", "::ffff:127.0.0.1"])
def test_is_own_host__knows_the_names_of_loopback(host: str | None, listener: str) -> None:
    assert is_own_host(host, listener, frozenset())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.example",
        "localhost:5000@evil.example",
        "evil.example, localhost",
        "localhost:x",
        "2130706433",
        "0x7f.1",
        "",
    ],
)
def test_is_own_host__refuses_other_names_on_loopback(host: str) -> None:
    """A page of `evil.example` is of the same origin as the service once that name points at this machine."""
    assert not is_own_host(host, "127.0.0.1", frozenset())
    assert not is_own_host(host, "0.0.0.0", frozenset({"jobs.example"}))


def test_is_own_host__restricts_other_listeners_only_if_names_are_allowed() -> None:
    assert is_own_host("anything.example", "0.0.0.0", frozenset())
    assert is_own_host("anything.example", "::", frozenset())
    assert is_own_host("jobs.example:443", "0.0.0.0", frozenset({"jobs.example"}))
    assert is_own_host("jobs.example", "127.0.0.1", frozenset({"jobs.example"}))


@pytest.mark.parametrize(
    "text", ["*", "null", "jobs.example", "https://", "https://a/b", "https://*.a", "//a", "file://"]
)
def test_parse_origin__refuses_what_is_not_one_origin(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_origin(text)


def test_parse_host__drops_port_brackets_and_the_final_dot() -> None:
    assert [parse_host(text) for text in ("A.example.:80", "[::1]:80", "a")] == ["a.example", "::1", "a"]
