"""`app.api.params.request_target`: no accepted target has two readings."""

import pytest
from werkzeug.exceptions import BadRequest, NotFound

from app.api.params.request_target import check_target


@pytest.mark.parametrize(
    "path",
    [
        "/job/other/../fibonacci",
        "/job/other/%2e%2e/fibonacci",
        "/job/other/.%2e/fibonacci",
        "/job/other/%2E./fibonacci",
        "/job/other/%252e%252E/fibonacci",
        "/job/other/%25252e./fibonacci",
        "/job/other/..;/fibonacci",
        "/job/other/..;a=b/fibonacci",
        "/job/other/..%3b/fibonacci",
        "/job/./fibonacci",
        "/job/other/%2e",
        "/job/other/..",
        "/../job/other",
        "/..",
        "/job/other/..//fibonacci",
        "/job/other\\..\\fibonacci",
        "/job/other/%5c..%5cfibonacci",
        "/job/other/%5C",
        "/job/other%2ffibonacci",
        "/job/other/%2F..%2Ffibonacci",
        "/job/other/%252f",
        "/job/other/%c0%ae%c0%ae/fibonacci",
        "/job/other/%c0%af",
        "/job/other/%e0%80%ae",
        "/job/other/%ff",
        "/job/other/%ED%A0%80",
        "/job/other/%00",
        "/job/other\x00",
        "/job/other/\xe9",
        "/job/other#/../fibonacci",
        "/job/other?#",
        "/job/%66ibonacci",
        "/%6aob/fibonacci",
        "/job/fibonacci%20",
    ],
)
@pytest.mark.parametrize("prefix", ["", "http://service"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_check_target__refuses_what_a_proxy_may_read_in_another_way(path: str, prefix: str, method: str) -> None:
    with pytest.raises(BadRequest):
        check_target(method, prefix + path, "service")


@pytest.mark.parametrize(
    "target",
    [
        "/job/fibonacci",
        "/job/fibonacci/",
        "/job/fibonacci//a//b/",
        "/job/fibonacci/...",
        "/job/fibonacci/a..b/.hidden/c.",
        "/job/fibonacci/;a=b/c;d",
        "/job/fibonacci/a%20b%25%3F%zz%F0%9F%98%80",
        "/job/fibonacci/%0A%0D",
        "/job/fibonacci?a=../b&c=%2F%5c\\%00%ff",
        "*",
    ],
)
def test_check_target__accepts_every_other_target(target: str) -> None:
    check_target("POST", target, "service")


@pytest.mark.parametrize("target", ["//job/fibonacci", "///job/fibonacci", "http://service//job/fibonacci", "//"])
def test_check_target__finds_nothing_behind_two_slashes(target: str) -> None:
    """They would be further spellings of the same path."""
    with pytest.raises(NotFound):
        check_target("POST", target, "service")


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "OPTIONS"])
def test_check_target__refuses_percent_encoding_wherever_no_run_gets_the_path(method: str) -> None:
    with pytest.raises(BadRequest, match="percent-encoding"):
        check_target(method, "/job/fibonacci/flskh5ipglrj/%6cogs", "service")


@pytest.mark.parametrize(
    "target", ["http://other/job/a", "http://service:81/job/a", "http://user@service/job/a", "http:///job/a", "http://"]
)
def test_check_target__refuses_an_absolute_target_for_another_host(target: str) -> None:
    with pytest.raises(BadRequest, match="another host"):
        check_target("GET", target, "service")


@pytest.mark.parametrize(
    "target", ["ftp://service/job/a", "x://service/%6aob/a", "job/a", "service:80", "http:/job/a", ""]
)
def test_check_target__refuses_a_target_of_another_form(target: str) -> None:
    with pytest.raises(BadRequest, match="neither a path nor a URL"):
        check_target("POST", target, "service")


def test_check_target__accepts_an_absolute_target_for_the_same_host() -> None:
    check_target("GET", "HTTP://Service:81/job/a", " service:81")


def test_check_target__takes_time_in_proportion_to_the_length() -> None:
    """A pattern that tries every split of a long target would not return in the time of a test."""
    check_target("POST", "/job/a/" + "%25" * 300_000 + "x", "service")
