"""What is wrong with a document, and where: one shape for configurations and requests alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        pointer: where, as an RFC 6901 JSON pointer; empty for the whole document.
        message: what, as a sentence without a trailing full stop; never the value of an environment variable.
    """

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or '(the whole document)'}: {self.message}"


MAX_FAULTS = 100
"""So many faults of a request are told: its sender needs no more to begin with, and may mean to keep us busy."""


class Refused(Exception):
    """A document that can't be applied as it was given.

    Attributes:
        faults: all that is wrong with it, in document order where there is one; at least one.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


def refuse_request(faults: Iterable[Fault]) -> NoReturn:
    """Refuse a request for its faults, sorted and each told once.

    Raises:
        Refused: always; of more than `MAX_FAULTS` it carries the first ones, and then one that says so.
    """
    ordered = sorted(set(faults))
    if len(ordered) > MAX_FAULTS:
        ordered[MAX_FAULTS:] = [Fault("", f"more is wrong than these {MAX_FAULTS} things")]
    raise Refused(ordered)


def pointer_to(*steps: str | int) -> str:
    """Join keys and indices into a JSON pointer (RFC 6901), escaping `~` and `/`.

    What no answer or log could hold, half of a surrogate pair, is written as an escape.
    """
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return printable(pointer)


def printable(text: str) -> str:
    """The text with each half of a surrogate pair written as an escape, so that it can be encoded as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Say that a field isn't known, and which known one was probably meant."""
    by_lower_case: dict[str, str] = {}
    for field in known:  # of two spellings, the first is the one to suggest
        by_lower_case.setdefault(field.lower(), field)
    nearest = get_close_matches(name.lower(), by_lower_case, n=1)
    return f"unknown field; did you mean {by_lower_case[nearest[0]]}?" if nearest else "unknown field"
