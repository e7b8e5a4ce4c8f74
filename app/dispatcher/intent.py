"""The intent: the pins of all runs that a leader may be admitting. It is stored in an annotation of the Lease.

Here is its format. Which runs, and how many, a leader adds to it: `app/dispatcher/next_admission.py`.
"""

import json
import re
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

MOST_PINS = 3000
"""The most pins that are read or written. A leader adds no pins of its own above half of that
(`next_admission.MOST_NAMED`), and may inherit as many from a Lease that was deleted."""

_MAX_LENGTH = 192 * 1024
"""A longer annotation is ignored. An intent with `MOST_PINS` pins is shorter, so what was read can be written again."""

_UID = re.compile(r"[0-9A-Za-z-]{1,36}", re.ASCII)
_MAX_VERSION = 2**63 - 1

FORMAT = 1
"""The version of the annotation's format. A leader that reads another version treats its predecessor as unknown."""


class Pin(NamedTuple):
    """A run in one version. A patch that carries this version can land only while the run has this version.

    Attributes:
        uid: the Job's.
        version: its resourceVersion.
    """

    uid: str
    version: int


class Intent(NamedTuple):
    """The admissions that a leader has sent or may send, as it wrote them into the Lease.

    Attributes:
        holder: the leader that wrote the intent.
        transitions: the Lease's `leaseTransitions` at that time.
        sequence: the number of this write of the Lease, unique for the holder.
        pins: the runs whose admission the leader may have sent, or may be about to send.
        complete: whether `pins` contains every admission that may still arrive. `False`: an earlier leader left no
            usable intent, and some of the runs that it may have been admitting are not fenced yet.
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
    """Read the annotation's text; `None`: there is no annotation, it has another format, or it can't be read.

    The next leader writes the pins that are read here into the Lease again. So only what a leader would write is
    accepted. Anything else could make the annotation too long to be stored.
    """
    if text is not None and len(text) > _MAX_LENGTH:
        return None
    try:
        fields = json.loads(text or "")
        if type(fields["format"]) is not int or fields["format"] != FORMAT:
            return None
        pins = frozenset(_pin(uid, version) for uid, version in fields["runs"])
        if len(pins) > MOST_PINS:
            return None
        holder, transitions = _of(str, fields["holder"]), _of(int, fields["transitions"])
        return Intent(holder, transitions, _of(int, fields["sequence"]), pins, _of(bool, fields["complete"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _pin(uid: object, version: object) -> Pin:
    pin = Pin(_of(str, uid), _of(int, version))
    if not _UID.fullmatch(pin.uid) or not 0 <= pin.version <= _MAX_VERSION:
        raise ValueError("not a uid and a resourceVersion")
    return pin


def _of(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
