"""CronJobs that are schedules: which ones are, their records, and what is written into them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.common.types import Json
from app.domain.names import cronjob_name, is_schedule_id, schedule_ids
from app.domain.schedule import StoredSchedule
from app.kube import labels
from app.kube.manifests import Origin, build_cronjob, digest_cronjob
from app.kube.parsing import started_by
from app.kube.schedules import check_stored, is_schedule_of, read_origin, schedule_id_of
from schemas.definition import Definition
from schemas.faults import Refused
from schemas.merge import merge
from schemas.schedules import Schedule

_MAX_FAULTS_SHOWN = 5
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A schedule as it should be.

    Attributes:
        definition: what its runs are runs of.
        schedule: when they are made.
        schedule_id: its id.
        origin: where it was asked for.
        started_by: the user who has asked for it; empty: unknown.
        applied: the annotation of its CronJob that says what was written.
    """

    definition: Definition
    schedule: Schedule
    schedule_id: str
    origin: Origin
    started_by: str
    applied: str

    @property
    def name(self) -> str:
        """The name of its CronJob."""
        return cronjob_name(self.definition.name, self.schedule_id)

    def build(self) -> Json:
        """Build its CronJob."""
        spec = merge(self.definition, self.schedule.request)
        return build_cronjob(spec, self.schedule, self.schedule_id, origin=self.origin, started_by=self.started_by)


def configured_targets(definitions: Mapping[str, Definition]) -> dict[str, Target]:
    """Return the schedules of definitions, by the name of their CronJob. Their CronJobs are not kept in memory."""
    found = {}
    for definition in definitions.values():
        ids = schedule_ids(definition.name, definition.schedules)
        for schedule_id, schedule in zip(ids, definition.schedules, strict=True):
            target = _make_target(definition, schedule, schedule_id, "configuration", "")
            found[target.name] = target
    return found


def requested_target(cronjob: Json, definition: Definition) -> Target:
    """Return the schedule that a request has made, as it should be under the definition in force.

    Raises:
        Refused: the definition does not allow it, or nobody can tell what it asks for.
    """
    schedule = check_stored(cronjob, definition)
    return _make_target(definition, schedule, schedule_id_of(cronjob), "http", started_by(cronjob))


def read_stored_schedule(
    cronjob: Json, *, wanted: str = "", refusal: str = "", judged_by: object = None
) -> StoredSchedule:
    """Make the record of a CronJob that is a schedule.

    Args:
        cronjob: the CronJob.
        wanted: see `StoredSchedule`.
        refusal: see `StoredSchedule`.
        judged_by: see `StoredSchedule`.
    """
    metadata, annotations = cronjob["metadata"], _annotations(cronjob)
    return StoredSchedule(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        definition=definition_of(cronjob),
        configured=read_origin(cronjob) == "configuration",
        applied=str(annotations.get(labels.SCHEDULE_APPLIED_ANNOTATION, "")),
        spec_digest=digest_cronjob(cronjob["spec"]),
        suspended=bool(cronjob["spec"].get("suspend")),
        edited_digest=str(annotations.get(labels.SCHEDULE_EDITED_ANNOTATION, "")),
        refusal_noted=labels.SCHEDULE_REFUSED_ANNOTATION in annotations,
        being_deleted="deletionTimestamp" in metadata,
        wanted=wanted,
        refusal=refusal,
        judged_by=judged_by,
    )


def is_schedule(cronjob: Json) -> bool:
    """Return whether a CronJob is a schedule that this service has made. A copy of one has another name."""
    has_origin = _labels(cronjob).get(labels.SCHEDULE_ORIGIN_LABEL) in ("configuration", "http")
    return (
        has_origin
        and is_schedule_id(schedule_id_of(cronjob))
        and is_schedule_of(cronjob, _labels(cronjob).get(labels.DEFINITION_LABEL, ""))
    )


def definition_of(cronjob: Json) -> str:
    """Return the name of a schedule's definition."""
    return str(_labels(cronjob)[labels.DEFINITION_LABEL])


def apply_target(cronjob: Json, target: Target) -> Json:
    """Return a CronJob as it should be, to replace it. What others have added to its metadata stays.

    Whether it is suspended changes only if what was asked for has changed, or if the leader has suspended it: somebody
    may have paused it.
    """
    manifest, annotations = target.build(), _annotations(cronjob)
    last_pause = str(annotations.get(labels.SCHEDULE_APPLIED_ANNOTATION, "")).partition("/")[2]
    pause_asked_for = (
        last_pause != target.applied.partition("/")[2] or labels.SCHEDULE_REFUSED_ANNOTATION in annotations
    )
    kept = {key: value for key, value in annotations.items() if key not in _MARKS}
    metadata = {key: value for key, value in cronjob["metadata"].items() if key != "managedFields"}
    suspend = manifest["spec"]["suspend"] if pause_asked_for else bool(cronjob["spec"].get("suspend"))
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            **metadata,
            "labels": {**_labels(cronjob), **manifest["metadata"]["labels"]},
            "annotations": {**kept, **manifest["metadata"]["annotations"]},
        },
        "spec": {**manifest["spec"], "suspend": suspend},
    }


def build_edit_mark(stored: StoredSchedule, digest: str | None) -> Json:
    """Build the merge patch that notes that a CronJob was edited, or that it is not any more (`None`)."""
    annotations = {labels.SCHEDULE_EDITED_ANNOTATION: digest}
    return {"metadata": {"resourceVersion": stored.resource_version, "annotations": annotations}}


def build_refusal(stored: StoredSchedule) -> Json:
    """Build the merge patch that suspends a schedule that its definition does not allow any more."""
    annotations = {labels.SCHEDULE_REFUSED_ANNOTATION: stored.refusal[:_MAX_TEXT]}
    return {
        "metadata": {"resourceVersion": stored.resource_version, "annotations": annotations},
        "spec": {"suspend": True},
    }


def describe_refusal(refusal: Refused) -> str:
    """Say in one line why a definition does not allow a schedule."""
    return "; ".join(map(str, refusal.faults[:_MAX_FAULTS_SHOWN]))[:_MAX_TEXT]


_MARKS = (labels.SCHEDULE_EDITED_ANNOTATION, labels.SCHEDULE_REFUSED_ANNOTATION)


def _make_target(definition: Definition, schedule: Schedule, schedule_id: str, origin: Origin, user: str) -> Target:
    target = Target(definition, schedule, schedule_id, origin, user, applied="")
    return replace(target, applied=target.build()["metadata"]["annotations"][labels.SCHEDULE_APPLIED_ANNOTATION])


def _labels(cronjob: Json) -> dict[str, str]:
    found: dict[str, str] = cronjob["metadata"].get("labels") or {}
    return found


def _annotations(cronjob: Json) -> dict[str, str]:
    found: dict[str, str] = cronjob["metadata"].get("annotations") or {}
    return found
