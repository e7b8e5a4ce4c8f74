"""The names of runs: a run `<id>` of definition `<definition>` is the Job `<definition>-slimfaas-job-<id>`."""

import base64
import re

from app.common.random_bytes import random_bytes

_INFIX = "-slimfaas-job-"
_ID = re.compile(r"[a-z2-7]{12}", re.ASCII)


def new_id() -> str:
    """Return a new id of a run: 12 lower-case base-32 characters (60 random bits)."""
    return id_from(random_bytes(8))


def id_from(digest: bytes) -> str:
    """Return the run's id that follows from a digest: its first 60 bits."""
    return base64.b32encode(digest).decode("ascii").lower()[:12]


def is_id(text: str) -> bool:
    """Return whether the text has the form of a run's id."""
    return _ID.fullmatch(text) is not None


def job_name(definition: str, run_id: str) -> str:
    """Return the name of a run's Job."""
    return f"{definition}{_INFIX}{run_id}"


def id_in(name: str) -> str:
    """Return the run's id in a Job's name: the part after the last `-slimfaas-job-`."""
    return name.rpartition(_INFIX)[2]
