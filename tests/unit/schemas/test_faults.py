"""`schemas.faults`: pointers and messages."""

import pytest

from schemas.faults import Fault, Refused, pointer_to, printable, unknown_field

KNOWN = ("Args", "Image", "Environments", "BackoffLimit", "Name", "name")


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ((), ""),
        (("Args", 0), "/Args/0"),
        (("",), "/"),
        (("a/b", "c~d"), "/a~1b/c~0d"),
        (("~1",), "/~01"),
        (("é",), "/é"),
        (("\ud800",), "/\\ud800"),
    ],
)
def test_pointer_to__escapes_slashes_tildes_and_lone_surrogates(steps: tuple[str | int, ...], pointer: str) -> None:
    assert pointer_to(*steps) == pointer
    pointer_to(*steps).encode("utf-8")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("args", "Args"),
        ("IMAGE", "Image"),
        ("Environment", "Environments"),
        ("BackofLimit", "BackoffLimit"),
        ("backoff_limit", "BackoffLimit"),
        ("nmae", "Name"),
    ],
)
def test_unknown_field__suggests_the_nearest_known_field(given: str, meant: str) -> None:
    """For a typing error, another case or another style."""
    assert unknown_field(given, KNOWN) == f"unknown field; did you mean {meant}?"


def test_unknown_field__suggests_nothing_without_a_similar_field() -> None:
    assert unknown_field("Sidecars", KNOWN) == "unknown field"


def test_printable__keeps_valid_text() -> None:
    assert printable("né \U0001f600 \\ud800") == "né \U0001f600 \\ud800"


def test_refused__has_all_faults_with_their_pointers_as_its_text() -> None:
    refused = Refused([Fault("", "not JSON"), Fault("/Image", "must be a string")])

    assert str(refused) == "(the whole document): not JSON; /Image: must be a string"
    assert len(refused.faults) == 2
