"""`POST /job/<name>`: starting runs."""

from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.api.access_control import AccessControl
from app.api.access_log import record
from app.api.openapi import error_examples
from app.api.openapi.examples import REQUESTS, SUCCEEDED
from app.api.openapi.operations import Answer, Header, Link, Operation, describe
from app.api.openapi.parameters import (
    DRY_RUN,
    IDEMPOTENCY_KEY,
    PREFER,
    PREFERENCE_APPLIED,
    QUERY_OF_A_RUN,
    REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
)
from app.api.params.client_disconnected import client_disconnected
from app.api.params.prefer_header import answer_with, read_wait
from app.api.params.request_parsing import check_target, read_body, read_dry_run, read_key, read_request_context
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
    "Location": Header(text="Where the run can be read.", example="/job/fibonacci/flskh5ipglrj"),
    "Idempotency-Replayed": Header(
        text="`true`: an earlier call with the same Idempotency-Key has started the run.", example="true", always=False
    ),
    "Preference-Applied": PREFERENCE_APPLIED,
}

_START = Operation(
    tag="Runs",
    summary="Start a run",
    text="The body changes what the definition permits; without one the run is what the definition says. It is read as "
    "JSON whatever its Content-Type, so `curl -d` works as it is. A value is applied as it was given, or the call is "
    "refused, naming every fault.",
    parameters=(QUERY_OF_A_RUN, DRY_RUN, IDEMPOTENCY_KEY, PREFER, REQUEST_ID, TRACEPARENT, TRACESTATE),
    body=RequestSchema,
    bodies=REQUESTS,
    answers=(
        Answer(
            status=202,
            text="The API server has stored the run. With `Prefer: wait=N` it is all that is known of the run, which "
            "has not ended yet; without `Preference-Applied`, too many others wait.",
            schema=AcceptedSchema,
            alternative=RunSchema,
            example=Accepted("flskh5ipglrj", "fibonacci-slimfaas-job-flskh5ipglrj"),
            headers=_HEADERS,
            links=_LINKS,
        ),
        Answer(
            text="The run has ended within the time that `Prefer: wait=N` gave it; or, for `dryRun=true`, the Job that "
            "would be stored.",
            schema=RunSchema,
            alternative=JobSchema,
            example=SUCCEEDED,
            headers={**_HEADERS, "Location": replace(_HEADERS["Location"], always=False)},
        ),
    ),
    errors=error_examples.URL + error_examples.BODY + error_examples.CREATE + error_examples.IDEMPOTENCY,
    guarded=True,
)


class RestOfPath(BaseConverter):
    """All that is left of a path, as it was sent: slashes at its ends or in a row, new lines, or nothing at all."""

    regex = r"[\s\S]*"
    part_isolating = False


def jobs_blueprint(
    access_control: AccessControl, submitter: Submitter, waiter: RunWaiter, limiter: ConcurrencyLimiter
) -> Blueprint:
    """Build the routes; the application must know `RestOfPath` as `rest`."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/job")
    accepted_schema = AcceptedSchema()

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    @describe(_START)
    def start(name: str, path: str) -> Response:
        definition = access_control.require(name)
        check_target(request)
        query = request.query_string.decode("ascii")
        if read_dry_run(request):
            read_key(request)  # it makes no difference here, but is checked as ever
            body = read_body(request)
            definition = access_control.require(name)  # see below
            record(outcome="tried")
            with limiter.acquire():
                return json_response(
                    submitter.dry_run(definition, body, path=path, query=query, context=read_request_context(request))
                )
        key, wait_seconds = read_key(request), read_wait(request)
        body = read_body(request)  # which may take as long as its sender likes, and so takes no place from others
        definition = access_control.require(
            name
        )  # as it is now: in the meantime it may have become private, or another
        disconnected, trusted = client_disconnected(request), definition.visibility != "Public"
        with waiter.acquire(wait_seconds, disconnected, trusted=trusted) as cancel_token:
            with limiter.acquire():
                run = submitter.submit(
                    definition, body, path=path, query=query, key=key, context=read_request_context(request)
                )
            record(run_id=run.id, fields=run.fields, outcome="replayed" if run.replayed else "accepted")
            headers = {"Location": f"/job/{name}/{run.id}"}
            if run.replayed:
                headers["Idempotency-Replayed"] = "true"
            if cancel_token is not None and (view := waiter.wait_if_possible(definition.name, run.id, cancel_token)):
                return answer_with(view, wait_seconds, headers, unfinished=202)
        return json_response(accepted_schema.dump(run), 202, headers)

    return blueprint
