"""`schemas.slimfaas_differences`: what a configuration means in SlimFaas, and not here."""

from typing import Any

import pytest

from schemas.definition import build_definition
from schemas.slimfaas_differences import find_differences

SAME: dict[str, Any] = {"Image": "busybox:1", "TtlSecondsAfterFinished": 60}
SECRET: dict[str, Any] = {"Environments": [{"Name": "TOKEN", "SecretRef": {"Name": "api", "Key": "token"}}]}


def differences_of(**entry: Any) -> dict[str, str]:
    found = find_differences({"job": build_definition("Job", {**SAME, **entry})})
    return {fault.pointer.removeprefix("/Configurations/Job/"): fault.message for fault in found}


def test_find_differences__finds_none_where_there_are_none() -> None:
    assert differences_of(ImagesWhitelist=["team/app:*", "team/*"]) == {}
    assert differences_of(**SECRET, EnvironmentsWhitelist=[]) == {}


@pytest.mark.parametrize(
    ("entry", "pointer", "message"),
    [
        ({"Visibility": "Public"}, "Visibility", "SLIMFAAS_PUBLIC_LISTING"),
        (SECRET, "EnvironmentsWhitelist", "can set no variable"),
        ({"ImagesWhitelist": ["a:1", "ghcr.io/*:*"]}, "ImagesWhitelist/1", "one path segment"),
    ],
)
def test_find_differences__names_the_field(entry: dict[str, Any], pointer: str, message: str) -> None:
    found = differences_of(**entry)
    assert list(found) == [pointer]
    assert message in found[pointer]


@pytest.mark.parametrize("depends_on", [[], ["db"]])
def test_find_differences__tells_what_no_time_to_live_changes(depends_on: list[str]) -> None:
    entry = {"Image": "busybox:1", "DependsOn": depends_on}
    [fault] = find_differences({"job": build_definition("job", entry)})
    assert fault.pointer == "/Configurations/job/TtlSecondsAfterFinished"
    assert ("DependsOn" in fault.message) == bool(depends_on)
