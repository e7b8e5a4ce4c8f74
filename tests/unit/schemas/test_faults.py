"""Faults: where something is wrong, what to write instead, and what is never said."""

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
def test_a_pointer_follows_rfc_6901(steps: tuple[str | int, ...], pointer: str) -> None:
    """Slashes and tildes in keys are escaped; what can't be encoded is written as an escape."""
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
def test_the_nearest_known_field_is_suggested(given: str, meant: str) -> None:
    """A slip of the finger, another case or another casing style leads to the right name, in its first spelling."""
    assert unknown_field(given, KNOWN) == f"unknown field; did you mean {meant}?"


def test_nothing_is_suggested_for_what_resembles_nothing() -> None:
    """A wrong guess would be worse than none."""
    assert unknown_field("Sidecars", KNOWN) == "unknown field"


def test_printable_leaves_proper_text_alone() -> None:
    """Only halves of surrogate pairs are rewritten."""
    assert printable("né \U0001f600 \\ud800") == "né \U0001f600 \\ud800"


def test_a_refusal_says_each_fault_with_its_place() -> None:
    """The exception's own text is fit for a log: all faults, the whole document named as such."""
    refused = Refused([Fault("", "not JSON"), Fault("/Image", "must be a string")])

    assert str(refused) == "(the whole document): not JSON; /Image: must be a string"
    assert len(refused.faults) == 2
