"""What requests add to the CronJobs of schedules, to find and change them later. Pure.

`app/kube/manifests.py` (`build_cronjob`) builds the CronJob.
"""

from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.domain.names import cronjob_name
from app.domain.request_context import RequestContext
from app.kube import labels
from app.kube.idempotency import idempotency_annotations
from app.kube.manifests import Origin, build_cronjob
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Fault, Refused
from schemas.merge import RunSpec
from schemas.schedules import Schedule, read_requested_schedule


def build_requested_cronjob(
    schedule: Schedule,
    spec: RunSpec,
    schedule_id: str,
    *,
    call: str,
    idempotent: IdempotentRequest | None,
    context: RequestContext,
) -> Json:
    """Build the CronJob of a schedule that a request makes.

    The marks of the request are on the CronJob only: a run that it makes is not the request's.

    Args:
        schedule: when runs are made.
        spec: what each run is made of.
        schedule_id: the schedule's id.
        call: a mark that no other request has.
        idempotent: of the request's Idempotency-Key; `None`: it had none.
        context: where the request comes from.
    """
    cronjob = build_cronjob(spec, schedule, schedule_id, origin="http", started_by=context.started_by)
    cronjob["metadata"]["annotations"] |= {
        labels.CALL_ANNOTATION: call,
        **({labels.REQUEST_ID_ANNOTATION: context.request_id} if context.request_id else {}),
        **(idempotency_annotations(idempotent) if idempotent else {}),
    }
    return cronjob


def build_suspension(cronjob: Json, *, suspend: bool) -> Json | None:
    """Build the merge patch that pauses or resumes a schedule, provided that nothing has changed.

    The leader resumes what it has suspended itself, when the definition allows it again. From now on, the caller's wish
    counts: what was refused and is paused stays paused.

    Returns:
        The patch; `None`: the schedule is in this state already.
    """
    is_refused = labels.SCHEDULE_REFUSED_ANNOTATION in (cronjob["metadata"].get("annotations") or {})
    if bool(cronjob["spec"].get("suspend")) == suspend and not is_refused:
        return None
    annotations = {"annotations": {labels.SCHEDULE_REFUSED_ANNOTATION: None}} if is_refused else {}
    return {
        "metadata": {"resourceVersion": cronjob["metadata"]["resourceVersion"], **annotations},
        "spec": {"suspend": suspend},
    }


def build_next_run(cronjob: Json) -> Json:
    """Build the Job of a schedule's next run, as far as the limits of queues look at it."""
    template: Json = cronjob["spec"]["jobTemplate"]
    return {**template, "metadata": {**template["metadata"], "name": cronjob["metadata"]["name"]}}


def is_schedule_of(cronjob: Json, definition: str) -> bool:
    """Return whether a CronJob is a schedule of a definition. Anybody may have written its labels."""
    own = cronjob["metadata"].get("labels") or {}
    return (
        own.get(labels.MANAGED_BY_LABEL) == labels.MANAGED_BY
        and own.get(labels.DEFINITION_LABEL) == definition
        and cronjob["metadata"]["name"] == cronjob_name(definition, schedule_id_of(cronjob))
    )


def schedule_id_of(cronjob: Json) -> str:
    """Return the id of a schedule; empty: the CronJob is none."""
    return str((cronjob["metadata"].get("labels") or {}).get(labels.SCHEDULE_LABEL, ""))


def read_origin(cronjob: Json) -> Origin:
    """Return where a schedule was asked for."""
    own = cronjob["metadata"].get("labels") or {}
    return "http" if own.get(labels.SCHEDULE_ORIGIN_LABEL) == "http" else "configuration"


def read_schedule_text(cronjob: Json) -> str:
    """Return a schedule as JSON, as it was asked for; empty: the CronJob does not say."""
    return str((cronjob["metadata"].get("annotations") or {}).get(labels.SCHEDULE_ANNOTATION, ""))


_UNREADABLE = Fault("", "the annotation that says what it asks for can't be read; delete it, and make it again")


def check_stored(cronjob: Json, definition: Definition) -> Schedule:
    """Read what a schedule asks for that a request has made, and check that its definition allows it now.

    Raises:
        Refused: it does not, or nobody knows what the schedule asks for.
    """
    try:
        schedule, _ = read_requested_schedule(definition, read_schedule_text(cronjob).encode("utf-8", "replace"))
    except NotJson:
        raise Refused([_UNREADABLE]) from None
    return schedule
