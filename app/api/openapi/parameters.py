"""The parameters that several operations share."""

from app.api.openapi.operations import Header, Parameter

_PATH_PARAMETERS = {
    "name": Parameter(
        name="name",
        location="path",
        text="The name of the definition.",
        schema={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 30},
        example="fibonacci",
    ),
    "run_id": Parameter(
        name="id",
        location="path",
        text="The run's id, from the response that accepted it.",
        schema={"type": "string", "pattern": "^[a-z2-7]{12}$"},
        example="flskh5ipglrj",
    ),
    "path": Parameter(
        name="path",
        location="path",
        text="Passed to the run, decoded, as `SLIMFAAS_JOB_PATH`. It may have any number of segments, which OpenAPI "
        "cannot express.",
        schema={"type": "string", "minLength": 1},
        example="reports",
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
    schema={"type": "string", "enum": ["true", "false"], "default": "false"},
    example="false",
)

IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    location="header",
    text="Requests with the same key and the same content start only one run, as long as that run exists in the "
    "cluster. Visible ASCII characters except commas and backslashes; double quotes around the key are ignored.",
    schema={"type": "string", "pattern": r"^[!#-+.-\[\]-~-]{1,255}$"},
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


def path_parameter(argument: str) -> Parameter:
    """Return the description of a route's path argument.

    Raises:
        LookupError: it has none.
    """
    if argument not in _PATH_PARAMETERS:
        raise LookupError(f"the path argument {argument} has no description: add it to {__name__}")
    return _PATH_PARAMETERS[argument]
