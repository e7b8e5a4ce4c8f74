"""`schemas.warnings`: what a valid configuration is warned of."""

from typing import Any

import pytest

from schemas.definition import Definition, build_definition
from schemas.warnings import find_warnings

SECRET: dict[str, Any] = {"Environments": [{"Name": "TOKEN", "SecretRef": {"Name": "api", "Key": "token"}}]}
ACCOUNT: dict[str, Any] = {"ServiceAccountName": "reporter"}


def warnings_of(**entry: Any) -> list[str]:
    definition: Definition = build_definition("job", {"Image": "busybox:1", "Visibility": "Public", **entry})
    found = find_warnings({"job": definition})
    return [warning.message for warning in found if warning.pointer == "/Configurations/job/Visibility"]


@pytest.mark.parametrize("entry", [{}, {**SECRET, "Visibility": "Private"}, {**ACCOUNT, "Visibility": "Private"}])
def test_find_warnings__finds_nothing_without_a_public_secret(entry: dict[str, Any]) -> None:
    assert warnings_of(**entry) == []


@pytest.mark.parametrize(
    ("entry", "held", "chosen"),
    [
        (SECRET, "hold a Secret (TOKEN), ", "with Args of their choice"),
        (ACCOUNT, "hold the token of a ServiceAccount, ", "with Args of their choice"),
        ({**SECRET, **ACCOUNT}, "a Secret (TOKEN) and the token of a ServiceAccount, ", "with Args of their choice"),
        (
            {**SECRET, "ImagesWhitelist": ["a:*"], "EnvironmentsWhitelist": ["A"]},
            "a Secret",
            "with Args, Image, Environments of their choice",
        ),
        ({**SECRET, "Overridable": ["DependsOn"]}, "a Secret", "with a path and a query of their choice"),
    ],
)
def test_find_warnings__says_what_is_held_and_what_callers_choose(
    entry: dict[str, Any], held: str, chosen: str
) -> None:
    (message,) = warnings_of(**entry)
    assert held in message
    assert chosen in message


@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("*", True),
        ("ghcr.io/*", True),
        ("team/app*", True),
        ("localhost:5000/*", True),
        ("*/app", True),
        ("ghcr.io/*:*", False),
        ("team/app:*", False),
        ("team/*@sha256:*", False),
        ("team/app", False),
        ("localhost:5000/team/app:1", False),
    ],
)
def test_find_warnings__warns_of_patterns_that_match_only_images_without_a_tag(pattern: str, warned: bool) -> None:
    definition = build_definition("Job", {"Image": "busybox:1", "ImagesWhitelist": ["a:1", pattern]})
    found = find_warnings({"job": definition})
    assert [warning.pointer for warning in found] == (["/Configurations/Job/ImagesWhitelist/1"] if warned else [])
    assert all(f"write {pattern}:* " in warning.message for warning in found)


@pytest.mark.parametrize(
    ("name", "visibility", "warned"),
    [("Default", "Public", True), ("default", "Public", True), ("Default", "Private", False), ("a", "Public", False)],
)
def test_find_warnings__warns_of_a_public_fallback(name: str, visibility: str, warned: bool) -> None:
    definition = build_definition(name, {"Image": "busybox:1", "Visibility": visibility})
    pointers = [warning.pointer for warning in find_warnings({definition.name: definition})]
    assert pointers == ([f"/Configurations/{name}/Visibility"] if warned else [])
