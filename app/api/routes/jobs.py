"""`POST /job/<name>`: start a run."""

from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import REQUEST_BODIES, SUCCEEDED
from app.api.openapi.operations import Header, Link, Operation, SuccessResponse, describe
from app.api.openapi.parameters import (
    DRY_RUN,
    IDEMPOTENCY_KEY,
    PREFER,
    PREFERENCE_APPLIED,
    REQUEST_ID,
    RUN_QUERY,
    TRACEPARENT,
    TRACESTATE,
)
from app.api.params.client_disconnected import make_disconnect_check
from app.api.params.prefer_header import read_wait, respond_with_run
from app.api.params.request_parsing import (
    large_body_size,
    read_body,
    read_dry_run,
    read_key,
    read_request_context,
)
from app.api.request_record import record
from app.api.responses import json_response
from app.auth.actions import Action
from app.common.byte_budget import ByteBudget
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.http_limits import MAX_BODY_BYTES
from app.runs.submit import Accepted, Submitter
from app.runs.waiting import RunWaiter
from schemas.job import JobSchema
from schemas.request import RequestSchema
from schemas.run import AcceptedSchema, RunSchema

_ALL_BODIES_BYTES = 4 * MAX_BODY_BYTES
"""What the larger bodies of all requests under way may have together. Such a request takes up to eight times its body:
as received, as parsed, and twice as JSON, in the call to the API server and in its response."""

_RUN = {"name": "$request.path.name", "id": "$response.body#/Id"}
_LINKS = {
    "read": Link(operation="runs.read", parameters=_RUN),
    "cancel": Link(operation="runs.cancel", parameters=_RUN),
}
_HEADERS = {
    "Location": Header(text="The path of the run.", example="/job/fibonacci/flskh5ipglrj"),
    "Idempotency-Replayed": Header(
        text="`true`: an earlier request with the same Idempotency-Key started the run.", example="true", always=False
    ),
    "Preference-Applied": PREFERENCE_APPLIED,
}

_START = Operation(
    tag="Runs",
    summary="Start a run",
    text="The body overrides what the definition allows a request to change; without a body the run is what the "
    "definition says. The body is read as JSON whatever its Content-Type, so plain `curl -d` works. Each value is "
    "applied exactly as given; otherwise the request is refused, and the response names every error. A name without a "
    "definition means the definition `default`, if there is one.\n\n"
    "`POST /job/<name>/<path>` does the same, and passes `<path>` to the run, decoded, as `SLIMFAAS_JOB_PATH`. It may "
    "have any number of segments, so it is no operation of this description: OpenAPI has no such parameter. Send it "
    "with a plain HTTP client.",
    parameters=(RUN_QUERY, DRY_RUN, IDEMPOTENCY_KEY, PREFER, REQUEST_ID, TRACEPARENT, TRACESTATE),
    body=RequestSchema,
    body_examples=REQUEST_BODIES,
    successes=(
        SuccessResponse(
            status=202,
            text="The run is stored in the cluster. With `Prefer: wait=N`: the run has not ended yet, and the body "
            "shows its present state. Without `Preference-Applied`, too many other requests wait.",
            schema=AcceptedSchema,
            example=Accepted("flskh5ipglrj", "fibonacci-slimfaas-job-flskh5ipglrj"),
            headers=_HEADERS,
            links=_LINKS,
        ),
        SuccessResponse(
            text="The run has ended within the time of `Prefer: wait=N`. With `dryRun=true`: the Job that would be "
            "stored.",
            schema=RunSchema,
            alternative=JobSchema,
            example=SUCCEEDED,
            headers={**_HEADERS, "Location": replace(_HEADERS["Location"], always=False)},
        ),
    ),
    errors=error_examples.BODY + error_examples.CREATE + error_examples.IDEMPOTENCY,
    requires_access=True,
)


class PathRemainder(BaseConverter):
    """The rest of a path, unchanged: it may be empty, and may have repeated or trailing slashes and line feeds."""

    regex = r"[\s\S]*"
    part_isolating = False


def jobs_blueprint(
    access_control: AccessControl, submitter: Submitter, waiter: RunWaiter, limiter: ConcurrencyLimiter
) -> Blueprint:
    """Build the routes. The application must have `PathRemainder` as its URL converter `rest`."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/job")
    accepted_schema = AcceptedSchema(only=("id", "name", "status"))  # without a wait there is nothing else
    body_budget = ByteBudget(_ALL_BODIES_BYTES, "bodies")

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    @describe(_START)
    def start(name: str, path: str) -> Response:
        access_control.require(name, Action.START)
        query = request.query_string.decode("ascii")
        dry_run = read_dry_run(request)
        key, wait_seconds = read_key(request), read_wait(request)
        with body_budget.reserve(large_body_size(request)) as reservation:
            # Where gunicorn ends TLS, a client may send its body slowly: it is read before any limiter is acquired. The
            # definition may have changed or become private since the head arrived, so it is required again.
            body = read_body(request)
            access = access_control.require(name, Action.START)
            definition = access.definition
            context = replace(read_request_context(request), started_by=access.user)
            if dry_run:
                record(outcome="tried")
                with limiter.acquire():
                    return json_response(submitter.dry_run(definition, body, path=path, query=query, context=context))
            disconnected, trust = make_disconnect_check(request), access_control.trust_in_caller(definition)
            with waiter.acquire(wait_seconds, disconnected, trust=trust) as cancel_token:
                with limiter.acquire():
                    run = submitter.submit(definition, body, path=path, query=query, key=key, context=context)
                del body
                reservation.release()
                record(run_id=run.id, fields=run.fields, outcome="replayed" if run.replayed else "accepted")
                headers = {"Location": f"{request.script_root}/job/{definition.name}/{run.id}"}
                if run.replayed:
                    headers["Idempotency-Replayed"] = "true"
                if cancel_token is not None and (
                    view := waiter.wait_if_possible(definition.name, run.id, cancel_token)
                ):
                    return respond_with_run(view, wait_seconds, headers, unfinished_status=202)
        return json_response(accepted_schema.dump(run), 202, headers)

    return blueprint
