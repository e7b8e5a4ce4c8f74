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
from app.api.params.request_parsing import check_target, read_body, read_dry_run, read_key, read_request_context
from app.api.request_record import record
from app.api.responses import json_response
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.submit import Accepted, Submitter
from app.runs.waiting import RunWaiter
from schemas.job import JobSchema
from schemas.request import RequestSchema
from schemas.run import AcceptedSchema, RunSchema

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
    "applied exactly as given; otherwise the request is refused, and the response names every error.",
    parameters=(RUN_QUERY, DRY_RUN, IDEMPOTENCY_KEY, PREFER, REQUEST_ID, TRACEPARENT, TRACESTATE),
    body=RequestSchema,
    body_examples=REQUEST_BODIES,
    successes=(
        SuccessResponse(
            status=202,
            text="The run is stored in the cluster. With `Prefer: wait=N`: the run has not ended yet, and the body "
            "shows its present state. Without `Preference-Applied`, too many other requests wait.",
            schema=AcceptedSchema,
            alternative=RunSchema,
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
    errors=error_examples.URL + error_examples.BODY + error_examples.CREATE + error_examples.IDEMPOTENCY,
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
    accepted_schema = AcceptedSchema()

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    @describe(_START)
    def start(name: str, path: str) -> Response:
        access_control.require(name)
        check_target(request)
        query = request.query_string.decode("ascii")
        dry_run = read_dry_run(request)
        key, wait_seconds = read_key(request), read_wait(request)
        # A client may send its body slowly, so the body is read before any limiter is acquired. The definition may
        # have changed or become private in the meantime, so it is required again.
        body = read_body(request)
        definition = access_control.require(name)
        context = read_request_context(request)
        if dry_run:
            record(outcome="tried")
            with limiter.acquire():
                return json_response(submitter.dry_run(definition, body, path=path, query=query, context=context))
        disconnected, trusted = make_disconnect_check(request), definition.visibility != "Public"
        with waiter.acquire(wait_seconds, disconnected, trusted=trusted) as cancel_token:
            with limiter.acquire():
                run = submitter.submit(definition, body, path=path, query=query, key=key, context=context)
            record(run_id=run.id, fields=run.fields, outcome="replayed" if run.replayed else "accepted")
            headers = {"Location": f"/job/{name}/{run.id}"}
            if run.replayed:
                headers["Idempotency-Replayed"] = "true"
            if cancel_token is not None and (view := waiter.wait_if_possible(definition.name, run.id, cancel_token)):
                return respond_with_run(view, wait_seconds, headers, unfinished_status=202)
        return json_response(accepted_schema.dump(run), 202, headers)

    return blueprint
