"""`app.auth.forwarded_url`: what a trusted proxy says about the URL that its client has used."""

import pytest

from app.auth.forwarded_url import ForwardedUrl, parse_prefix, read_forwarded_url


def test_read_forwarded_url__reads_each_header() -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "Jobs.example:8443", "X-Forwarded-Prefix": "/a/b/"}
    assert read_forwarded_url(headers) == ForwardedUrl("https", "jobs.example:8443", "/a/b")


def test_read_forwarded_url__reads_one_forwarded_element() -> None:
    headers = {"Forwarded": 'for=10.0.0.1;proto=https;host="[::1]:8443"'}
    assert read_forwarded_url(headers) == ForwardedUrl("https", "[::1]:8443", None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-Host": "a.example, b.example", "X-Forwarded-Proto": "https,http", "X-Forwarded-Prefix": "/a,/b"},
        {"Forwarded": "host=a.example;proto=https, host=b.example;proto=https"},
        {"Forwarded": "host=a.example;host=b.example"},
        {"Forwarded": ""},
        {"X-Forwarded-Host": "a.example", "Forwarded": "host=b.example"},
        {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a.example/<script>", "X-Forwarded-Prefix": "a"},
        {"X-Forwarded-Proto": "", "X-Forwarded-Host": "", "X-Forwarded-Prefix": ""},
    ],
)
def test_read_forwarded_url__ignores_what_is_malformed_repeated_or_contradictory(headers: dict[str, str]) -> None:
    assert read_forwarded_url(headers) == ForwardedUrl()


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example",
        "/a//evil.example",
        "///",
        "https://evil.example",
        "javascript:alert(1)",
        "/javascript:alert(1)",
        "/a\r\nSet-Cookie: a=b",
        "/a\n",
        "/../a",
        "/a/..",
        "/.",
        "/a/./b",
        "/%2e%2e",
        "/\\evil.example",
        "\\\\evil.example",
        "/a?b",
        "/a#b",
        "/a b",
        "/<script>",
        "/a'",
        "/\u00e9",
        "a",
        "",
        "/" + "a" * 300,
    ],
)
def test_parse_prefix__refuses_hostile_values(text: str) -> None:
    assert parse_prefix(text) is None


@pytest.mark.parametrize(
    ("text", "prefix"), [("/jobs-api", "/jobs-api"), ("/a/b_c/~d/.e/", "/a/b_c/~d/.e"), ("/", ""), ("/...", "/...")]
)
def test_parse_prefix__drops_the_final_slash(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix
