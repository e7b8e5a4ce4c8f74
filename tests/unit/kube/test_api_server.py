"""Which proxy leads to an API server."""

import pytest

from app.kube.api_server import environment_proxy

PROXY = "http://proxy.example:3128"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variable", "url", "found"),
    [
        ("HTTPS_PROXY", "https://api.example", True),
        ("https_proxy", "https://api.example:6443/prefix", True),
        ("HTTPS_PROXY", "http://api.example", False),
        ("http_proxy", "http://api.example", True),
        ("ALL_PROXY", "https://api.example", True),
        ("NO_PROXY", "https://api.example", False),
    ],
)
def test_environment_proxy__is_that_of_the_scheme(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, *, found: bool
) -> None:
    monkeypatch.setenv(variable, PROXY)
    assert environment_proxy(url) == (PROXY if found else None)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "api.example", True),
        ("api.example", "api.example", True),
        ("API.example", "api.EXAMPLE", True),
        ("example", "api.example", True),
        (".example", "api.example", True),
        (".example", "example", True),
        ("ample", "api.example", False),
        ("other, api.example ,", "api.example", True),
        ("api.example:6443", "api.example:6443", True),
        ("api.example:6443", "api.example:443", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "api.example", False),
        ("fd00::/8", "[fd00::1]:6443", True),
        ("10.1.2.3", "10.1.2.3:6443", True),
        ("", "api.example", False),
        (",,", "api.example", False),
    ],
)
def test_environment_proxy__is_not_used_for_what_no_proxy_names(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, *, direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert environment_proxy(f"https://{host}") == (None if direct else PROXY)
