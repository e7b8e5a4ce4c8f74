"""The parameters that more than one call has."""

from app.api.openapi.operations import Header, Parameter

_OF_PATH = {
    "name": Parameter(
        name="name",
        place="path",
        text="The definition's name.",
        schema={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 30},
        example="fibonacci",
    ),
    "run_id": Parameter(
        name="id",
        place="path",
        text="The run's id within its definition, from the answer that accepted it.",
        schema={"type": "string", "pattern": "^[a-z2-7]{12}$"},
        example="flskh5ipglrj",
    ),
    "path": Parameter(
        name="path",
        place="path",
        text="Handed to the run, decoded, as `SLIMFAAS_JOB_PATH`. It may have any number of segments, which OpenAPI "
        "can't say.",
        schema={"type": "string", "minLength": 1},
        example="reports",
    ),
}

QUERY_OF_A_RUN = Parameter(
    name="query",
    place="query",
    text="Any query string; it is handed to the run as it was sent, as `SLIMFAAS_JOB_QUERY`.",
    schema={"type": "object", "additionalProperties": True},
)

DRY_RUN = Parameter(
    name="dryRun",
    place="query",
    text="`true`: check everything and store nothing.",
    schema={"type": "string", "enum": ["true", "false"]},
    example="false",
)

IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    text="Calls with the same key and the same request start one run, for as long as that run is in the cluster. "
    "Visible ASCII characters but commas and backslashes; double quotes around them make no difference.",
    schema={"type": "string", "pattern": r"^[!#-+.-\[\]-~-]{1,255}$"},
)

PREFER = Parameter(
    name="Prefer",
    place="header",
    text="`wait=N`: answer when the run has ended, or after N seconds, at most 300 (RFC 7240).",
    schema={"type": "string"},
    example="wait=10",
)

REQUEST_ID = Parameter(
    name="X-Request-Id",
    place="header",
    text="The call's id, in the answer, the log and the run's annotations; one that isn't well-formed is replaced.",
    schema={"type": "string"},
    example="3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10",
)

REQUEST_ID_ANSWERED = Header(
    text="The call's id: its own, or a new one.", example="3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10"
)

TRACEPARENT = Parameter(
    name="traceparent",
    place="header",
    text="Reaches the container as `TRACEPARENT` (W3C Trace Context); one that is invalid is ignored.",
    schema={"type": "string"},
    example="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)

TRACESTATE = Parameter(
    name="tracestate",
    place="header",
    text="Reaches the container as `TRACESTATE`, beside a valid `traceparent`.",
    schema={"type": "string"},
    example="rojo=00f067aa0ba902b7",
)

PREFERENCE_APPLIED = Header(
    text="How long the answer could wait; absent if nobody asked, or too many others wait.",
    example="wait=10",
    always=False,
)


def of_path(argument: str) -> Parameter:
    """The parameter that a route calls by this argument.

    Raises:
        LookupError: nobody has described it.
    """
    if argument not in _OF_PATH:
        raise LookupError(f"no parameter of a path is called {argument}")
    return _OF_PATH[argument]
