"""The parameters and responses that several operations share."""

from dataclasses import replace

from app.api.openapi.operations import Header, Parameter, SuccessResponse

_PATH_PARAMETERS = {
    "name": Parameter(
        name="name",
        location="path",
        text="The name of the definition. Capitals count as lower case.",
        schema={"type": "string", "pattern": "^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", "maxLength": 30},
        example="fibonacci",
    ),
    "run_id": Parameter(
        name="id",
        location="path",
        text="The run's id, from the response that accepted it. Without such a request, the name of its Job.",
        schema={"type": "string", "pattern": "^[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?$"},
        example="flskh5ipglrj",
    ),
    "file": Parameter(
        name="file",
        location="path",
        text="The name of a file of the page.",
        schema={"type": "string", "pattern": r"^[a-z]+\.[a-z]+$"},
        example="app.js",
    ),
    "schedule_id": Parameter(
        name="id",
        location="path",
        text="The schedule's id, from the response that created it or from the list.",
        schema={"type": "string", "pattern": "^[a-z2-7]{8}([a-z2-7]{4})?$"},
        example="mzxw6ytboi4q",
    ),
}

RUN_QUERY = Parameter(
    name="query",
    location="query",
    text="Any query string. It is passed to the run unchanged, as `SLIMFAAS_JOB_QUERY`.",
    schema={"type": "object", "additionalProperties": True},
)

DRY_RUN = Parameter(
    name="dryRun",
    location="query",
    text="`true`: check everything but store nothing.",
    schema={"type": "boolean", "default": False},
)

IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    location="header",
    text="Requests with the same key and the same content start only one run, as long as that run exists in the "
    "cluster. Use a random UUID. Visible ASCII characters except commas and backslashes; double quotes around the key "
    "are ignored.",
    schema={"type": "string", "pattern": r"^[!#-+.-\[\]-~-]{1,255}$"},
    example="7f8d2c1e-5b0a-4c3e-9d6f-2a1b8c4e0f37",
)

SCHEDULE_KEY = replace(
    IDEMPOTENCY_KEY,
    text="Requests with the same key and the same content create only one schedule, as long as that schedule exists. "
    "The form of the key is that of a run's.",
)

PREFER = Parameter(
    name="Prefer",
    location="header",
    text="`wait=N`: respond when the run has ended, or after N seconds, at most 300 (RFC 7240).",
    schema={"type": "string"},
    example="wait=10",
)

REQUEST_ID = Parameter(
    name="X-Request-Id",
    location="header",
    text="The request's id, for the response, the log and the run's annotations. A malformed one is replaced.",
    schema={"type": "string"},
    example="3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10",
)

REQUEST_ID_RESPONSE = Header(
    text="The request's id: the one that it was sent with, or a new one.",
    example="3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10",
)

TRACEPARENT = Parameter(
    name="traceparent",
    location="header",
    text="Passed to the container as `TRACEPARENT` (W3C Trace Context). An invalid one is ignored.",
    schema={"type": "string"},
    example="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)

TRACESTATE = Parameter(
    name="tracestate",
    location="header",
    text="Passed to the container as `TRACESTATE`, if `traceparent` is valid.",
    schema={"type": "string"},
    example="rojo=00f067aa0ba902b7",
)

PREFERENCE_APPLIED = Header(
    text="The wait that was applied; absent if the request asked for none, or too many others wait.",
    example="wait=10",
    always=False,
)

REVALIDATED = {
    "ETag": Header(text="Changes when the content does.", example='"5f1d7a84db00d2fc"'),
    "Cache-Control": Header(text="Caches must revalidate the content each time.", example="no-cache"),
}
"""The headers of content that caches may keep."""

NOT_MODIFIED = SuccessResponse(
    status=304, text="The content still has the ETag in `If-None-Match`.", headers=REVALIDATED
)

MAX_STALE = Parameter(
    name="Cache-Control",
    location="header",
    text="`max-stale=N`: the caller polls. The response may be N seconds old, at most 120, so that all callers that "
    "poll share one list a second.",
    schema={"type": "string"},
    example="max-stale=60",
)

AGE = Header(
    text="How old the response is, in seconds, if the request has `Cache-Control: max-stale`.",
    example="2",
    always=False,
)


def path_parameter(argument: str) -> Parameter:
    """Return the description of a route's path argument.

    Raises:
        LookupError: it has none.
    """
    if argument not in _PATH_PARAMETERS:
        raise LookupError(f"the path argument {argument} has no description: add it to {__name__}")
    return _PATH_PARAMETERS[argument]
