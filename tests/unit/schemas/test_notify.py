"""`Notify` of a definition: what it may say."""

import json
from typing import Any

import pytest

from schemas.configuration import parse_configuration
from schemas.definition import Definition
from schemas.faults import Refused
from schemas.merge import merge
from schemas.notify import HIGHEST_MAX_UNDELIVERED, Notify
from schemas.request import Request
from schemas.warnings import find_warnings

URL = "https://Hooks.example:8443/runs?a=%20b"


def parse(notify: Any) -> Definition:
    document = {"Configurations": {"fib": {"Image": "busybox:1", "Notify": notify}}}
    return parse_configuration(json.dumps(document))["fib"]


def test_notify__has_defaults_for_all_but_its_url() -> None:
    notify = parse({"Url": URL}).notify
    assert notify == Notify(URL, frozenset({"succeeded", "failed"}), None, "Structured", 1000)
    assert notify.receiver == "https://hooks.example:8443"


def test_notify__reads_every_field() -> None:
    entry = {
        "Url": URL,
        "On": ["Failed"],
        "SecretRef": {"Name": "hooks", "Key": "fib"},
        "Format": "Binary",
        "MaxUndelivered": 7,
    }
    assert parse(entry).notify == Notify(URL, frozenset({"failed"}), ("hooks", "fib"), "Binary", 7)


def test_notify__accepts_the_highest_limit() -> None:
    """The dispatcher applies it to definitions that are gone."""
    notify = parse({"Url": URL, "MaxUndelivered": HIGHEST_MAX_UNDELIVERED}).notify
    assert notify is not None
    assert notify.max_undelivered == HIGHEST_MAX_UNDELIVERED


def test_notify__makes_the_runs_remember_it() -> None:
    assert merge(parse({"Url": URL}), Request()).notifies is True
    assert merge(Definition("fib", "busybox:1"), Request()).notifies is False


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://hooks.example/",
        "hooks.example",
        "https://",
        "https://user@hooks.example/",
        "https://user:password@hooks.example/",
        "https://hooks.example/#part",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX: y",
        "https://hooks.example/\n",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks..example/",
        f"https://{'a' * 64}.example/",
        "https://[::1/",
        "https://[zz]/",
        "https://hooks.example\\@other.example/",
        "https://héé.example/",
        "https://hooks.example/" + "a" * 2048,
    ],
)
def test_notify__refuses_other_urls_without_quoting_them(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse({"Url": url})
    assert {fault.pointer for fault in refusal.value.faults} == {"/Configurations/fib/Notify/Url"}
    assert len(url) < 20 or url not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["http://hooks", "https://10.0.0.1/", "https://[2001:db8::1]:8443/a", "https://a_b.example./?x=1"]
)
def test_notify__accepts_names_and_addresses(url: str) -> None:
    assert parse({"Url": url}).notify is not None


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({}, "/Url"),
        ({"Url": URL, "On": []}, "/On"),
        ({"Url": URL, "On": ["Cancelled"]}, "/On/0"),
        ({"Url": URL, "SecretRef": {"Name": "../x", "Key": "k"}}, "/SecretRef/Name"),
        ({"Url": URL, "SecretRef": {"Name": "x", "Key": ".."}}, "/SecretRef/Key"),
        ({"Url": URL, "SecretRef": {"Name": "x", "Key": "a/b"}}, "/SecretRef/Key"),
        ({"Url": URL, "MaxUndelivered": 0}, "/MaxUndelivered"),
        ({"Url": URL, "MaxUndelivered": HIGHEST_MAX_UNDELIVERED + 1}, "/MaxUndelivered"),
        ({"Url": URL, "Format": "Batch"}, "/Format"),
        ({"Url": URL, "Secret": "whsec_x"}, "/Secret"),
    ],
)
def test_notify__refuses_other_values(entry: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse(entry)
    assert [fault.pointer for fault in refusal.value.faults] == [f"/Configurations/fib/Notify{pointer}"]


def test_find_warnings__warns_of_notifications_in_clear_text_and_without_a_signature() -> None:
    secret = {"SecretRef": {"Name": "hooks", "Key": "fib"}}
    warned = find_warnings({"fib": parse({"Url": "http://hooks/"})})
    assert [warning.pointer for warning in warned] == [
        "/Configurations/fib/Notify",
        "/Configurations/fib/Notify/Url",
    ]
    assert find_warnings({"fib": parse({"Url": URL, **secret})}) == []
