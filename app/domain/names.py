"""The names of runs and schedules.

A request's run `<id>` of definition `<definition>` is the Job `<definition>-slimfaas-job-<id>`. A schedule `<id>` is
the CronJob `<definition>-<id>`. Kubernetes names the Jobs of a CronJob `<name>-<minutes>`, with the minutes since the
epoch; a person gives a Job any name. The id of such a run is the name of its Job.
"""

import base64
import re
from collections.abc import Sequence
from hashlib import sha256

from app.common.random_bytes import random_bytes
from schemas.schedules import Schedule

_INFIX = "-slimfaas-job-"
_ID = re.compile(r"[a-z2-7]{12}", re.ASCII)
_JOB_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_SCHEDULE_ID = re.compile(r"[a-z2-7]{8}(?:[a-z2-7]{4})?", re.ASCII)


def new_id() -> str:
    """Return a new id of a run: 12 lower-case base-32 characters (60 random bits)."""
    return id_from(random_bytes(8))


def id_from(digest: bytes) -> str:
    """Return the run's id that follows from a digest: its first 60 bits."""
    return base64.b32encode(digest).decode("ascii").lower()[:12]


def is_id(text: str) -> bool:
    """Return whether the text has the form of a run's id."""
    return _JOB_NAME.fullmatch(text) is not None and _INFIX not in text


def is_secret_id(definition: str, text: str) -> bool:
    """Return whether nobody can guess the id of a run or a schedule: it has 60 random bits.

    The id of a schedule that a configuration has can be computed, and people choose the names of Jobs.
    """
    made_by_schedule = re.fullmatch(rf"{re.escape(definition)}-{_ID.pattern}-[0-9]{{8,12}}", text, re.ASCII)
    return _ID.fullmatch(text) is not None or made_by_schedule is not None


def job_name(definition: str, run_id: str) -> str:
    """Return the name of the Job of a run that a request makes."""
    return f"{definition}{_INFIX}{run_id}"


def find_job_name(definition: str, run_id: str) -> str:
    """Return the name of the Job of a run.

    An id that nobody can guess is that of a request's run, and never the name of a Job: a person may have chosen it.
    """
    return job_name(definition, run_id) if _ID.fullmatch(run_id) else run_id


def is_schedule_id(text: str) -> bool:
    """Return whether the text has the form of a schedule's id."""
    return _SCHEDULE_ID.fullmatch(text) is not None


def is_requested_schedule_id(text: str) -> bool:
    """Return whether the text has the form of the id of a schedule that a request has made, not a configuration."""
    return _ID.fullmatch(text) is not None


def cronjob_name(definition: str, schedule_id: str) -> str:
    """Return the name of a schedule's CronJob: at most 43 characters, of the 52 that Kubernetes accepts."""
    return f"{definition}-{schedule_id}"


def schedule_ids(definition: str, schedules: Sequence[Schedule]) -> list[str]:
    """Return the ids of schedules that a configuration has: 8 characters, where those of `new_id` have 12.

    The id follows from the times. So every process finds the same CronJob, and a schedule keeps its id when its
    arguments change. One with other times is another schedule: Kubernetes would make up for the times that a changed
    CronJob seems to have missed.

    Args:
        definition: the definition's name.
        schedules: of this definition. Several with the same times are told apart by their order.
    """
    seen: dict[tuple[str, str], int] = {}
    ids = []
    for schedule in schedules:
        times = (schedule.cron, schedule.time_zone)
        seen[times] = ordinal = seen.get(times, -1) + 1
        ids.append(id_from(sha256("\n".join((definition, *times, str(ordinal))).encode()).digest())[:8])
    return ids


def id_in(definition: str, name: str) -> str:
    """Return the id of the run of a definition whose Job has this name."""
    run_id = name.removeprefix(f"{definition}{_INFIX}")
    return run_id if _ID.fullmatch(run_id) else name
