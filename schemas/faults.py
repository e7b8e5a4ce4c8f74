"""Validation errors (faults) of configurations and requests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate
from typing import NoReturn


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One validation error.

    Attributes:
        pointer: the faulty part, as a JSON pointer (RFC 6901); empty: the whole document.
        message: what is wrong, without a full stop; never contains the value of an environment variable.
    """

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or '(the whole document)'}: {self.message}"


MAX_FAULTS = 100
"""The maximum number of faults that are reported for a request. A client may send many to waste our time."""

_MAX_TEXT_LENGTH = 16 * 1024
"""The most characters that these faults have in all: names that a client has made up may be long, too."""


class Refused(Exception):
    """The document has faults.

    Attributes:
        faults: all faults, at least one.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


_TOO_LONG = "a name in the body is too long to be repeated here, and is not that of a field"


def refuse_request(faults: Iterable[Fault]) -> NoReturn:
    """Raise `Refused` with the faults of a request, sorted and without duplicates.

    Raises:
        Refused: always. If there are more than `MAX_FAULTS`, or their text is too long, it has the first ones, and a
            last one that says so.
    """
    ordered = sorted(set(faults))
    lengths = accumulate(len(fault.pointer) + len(fault.message) for fault in ordered[:MAX_FAULTS])
    told = sum(length <= _MAX_TEXT_LENGTH for length in lengths)
    if told < len(ordered):
        ordered[told:] = [Fault("", f"there are more faults than these {told}" if told else _TOO_LONG)]
    raise Refused(ordered)


def pointer_to(*steps: str | int) -> str:
    """Join keys and indices to a JSON pointer (RFC 6901).

    Halves of surrogate pairs are escaped, because no response or log can contain them.
    """
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return printable(pointer)


def printable(text: str) -> str:
    """Return the text with halves of surrogate pairs escaped, so that it can be encoded as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown field, with the known field that was probably meant."""
    by_lower_case: dict[str, str] = {}
    for field in known:  # suggest the first of two spellings
        by_lower_case.setdefault(field.lower(), field)
    nearest = get_close_matches(name.lower(), by_lower_case, n=1)
    return f"unknown field; did you mean {by_lower_case[nearest[0]]}?" if nearest else "unknown field"
