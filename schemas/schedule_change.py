"""The body of a request that pauses or resumes a schedule: a merge patch (RFC 7396) of the field that may change."""

from schemas.faults import refuse_request
from schemas.request import load_fields, parse_object
from schemas.strict import Flag, StrictSchema


class ScheduleChangeSchema(StrictSchema):
    """The body of `PATCH /job-schedules/<name>/<id>`."""

    suspend = Flag(
        data_key="Suspend", required=True, metadata={"description": "Whether the schedule is paused: it makes no runs."}
    )


_SCHEMA = ScheduleChangeSchema()


def read_change(body: bytes) -> bool:
    """Return whether the schedule is to be paused.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: it is not an object with exactly this field.
    """
    value, faults = parse_object(body)
    loaded, more_faults = load_fields(_SCHEMA, value)
    if faults := [*faults, *more_faults]:
        refuse_request(faults)
    return bool(loaded["suspend"])
