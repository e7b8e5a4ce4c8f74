"""What is wrong with a document, and where: one shape for configurations and requests alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


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


class Refused(Exception):
    """A document that can't be applied as it was given.

    Attributes:
        faults: all that is wrong with it, in document order where there is one; at least one.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


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
