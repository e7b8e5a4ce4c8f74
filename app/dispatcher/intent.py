"""The intent: the runs that a leader may be admitting, as it is written into an annotation of the Lease."""

import json
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

FORMAT = 1
"""The version of the annotation's format. A leader that reads another one treats its predecessor as unknown."""


class Pin(NamedTuple):
    """A run in one version: a patch that carries this version can land only while the run is in it.

    Attributes:
        uid: the Job's.
        version: its resourceVersion.
    """

    uid: str
    version: int


class Intent(NamedTuple):
    """What a leader has written into the Lease about its admissions.

    Attributes:
        holder: the leader that wrote it.
        transitions: the Lease's `leaseTransitions` then.
        sequence: a number that this holder gave to no other write of the Lease.
        pins: the admissions that it may have sent, or may be about to send.
        complete: whether `pins` names everything that may be under way. `False`: an earlier leader left no intent that
            could be relied on, and not all that it may have sent is settled.
    """

    holder: str
    transitions: int
    sequence: int
    pins: frozenset[Pin]
    complete: bool


def format_intent(intent: Intent) -> str:
    """Write an intent as the text of the annotation: JSON, some 60 bytes per run."""
    return json.dumps(
        {
            "format": FORMAT,
            "holder": intent.holder,
            "transitions": intent.transitions,
            "sequence": intent.sequence,
            "complete": intent.complete,
            "runs": [[pin.uid, pin.version] for pin in sorted(intent.pins)],
        },
        separators=(",", ":"),
    )


def parse_intent(text: str | None) -> Intent | None:
    """Read the annotation's text; `None`: there is none, it has another format, or it can't be read."""
    try:
        fields = json.loads(text or "")
        if type(fields["format"]) is not int or fields["format"] != FORMAT:
            return None
        pins = frozenset(Pin(_of(str, uid), _of(int, version)) for uid, version in fields["runs"])
        holder, transitions = _of(str, fields["holder"]), _of(int, fields["transitions"])
        return Intent(holder, transitions, _of(int, fields["sequence"]), pins, _of(bool, fields["complete"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _of(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
