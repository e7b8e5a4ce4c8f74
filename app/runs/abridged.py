"""Runs and schedules as they are shown in a list: without what is long, so that a page fits into memory."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from app.common.types import Json
from app.kube.parsing import what_kueue_has_undone
from schemas.run import RunView
from schemas.schedule_view import ScheduleView

_View = TypeVar("_View", RunView, ScheduleView)

MAX_FIELD_LENGTH = 1024
"""How many characters of a field that callers fill are shown in a list."""

_OTHER_BYTES = 700
"""What a run takes in a list beside the texts that vary, about."""


def trim_job(job: Json) -> Json:
    """Drop from a Job what a list does not show. The Job is changed, and returned.

    Values of variables are never shown. Of arguments and names of variables, enough stays to see that they are too
    long: the beginning of the first text that a list leaves out.
    """
    if not what_kueue_has_undone(job):  # which is read from there
        job["metadata"].pop("managedFields", None)
    for container in job["spec"]["template"]["spec"].get("containers") or ():
        if container.get("args"):
            # An escaped `$` has two characters here.
            container["args"] = list(_cut(container["args"], 2 * (MAX_FIELD_LENGTH + 1)))
        if container.get("env"):
            names = _cut([variable["name"] for variable in container["env"]], MAX_FIELD_LENGTH + 2)
            container["env"] = [{"name": name} for name in names]
    return job


def abridge(view: _View) -> _View:
    """Cut the fields of a run or schedule that callers fill to `MAX_FIELD_LENGTH`, and name those that were cut."""
    fields = {"Args": view.args or (), "Environments": view.environments, "DependsOn": view.depends_on or ()}
    cut = {name: tuple(_cut(texts, MAX_FIELD_LENGTH)) for name, texts in fields.items()}
    truncated = tuple(name for name, texts in fields.items() if cut[name] != texts)
    if not truncated:
        return view
    return replace(
        view,
        args=None if view.args is None else cut["Args"],
        environments=cut["Environments"],
        depends_on=None if view.depends_on is None else cut["DependsOn"],
        truncated=truncated,
    )


def measure(view: RunView) -> int:
    """Return about how many bytes a run takes in a list."""
    texts = (view.message, view.reason, view.result, view.image, view.started_by)
    return _OTHER_BYTES + len(json.dumps([*texts, view.args, view.environments, view.depends_on]))


def _cut(texts: Sequence[str], length: int) -> Iterator[str]:
    """Yield texts until they have so many characters together; the last one is cut. Each counts as one more."""
    left = length
    for text in texts:
        if left <= 0:
            return
        yield text[:left]
        left -= len(text) + 1
