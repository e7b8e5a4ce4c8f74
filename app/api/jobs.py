"""`POST /job/<name>`: starting runs."""

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.api.calls import check_target, read_body, read_dry_run, read_key
from app.api.clients import has_left
from app.api.door import Door
from app.api.responses import json_response
from app.api.waits import answer_with, read_wait
from app.services.gate import Gate
from app.services.submit import Submitter
from app.services.waiting import Waits
from schemas.run import AcceptedSchema


class RestOfPath(BaseConverter):
    """All that is left of a path, as it was sent: slashes at its ends or in a row, or nothing at all."""

    regex = ".*"
    part_isolating = False


def jobs_blueprint(door: Door, submitter: Submitter, waits: Waits, gate: Gate) -> Blueprint:
    """Build the routes; the application must know `RestOfPath` as `rest`."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/job")
    accepted_schema = AcceptedSchema()

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    def start(name: str, path: str) -> Response:
        definition = door.enter(name)
        check_target(request)
        query = request.query_string.decode("ascii")
        if read_dry_run(request):
            read_key(request)  # it makes no difference here, but is checked as ever
            with gate.place():
                return json_response(submitter.try_out(definition, read_body(request), path=path, query=query))
        key, wait_seconds = read_key(request), read_wait(request)
        with waits.place(wait_seconds, has_left(request)) as interrupt:
            with gate.place():
                run = submitter.submit(definition, read_body(request), path=path, query=query, key=key)
            headers = {"Location": f"/job/{name}/{run.id}"}
            if run.replayed:
                headers["Idempotency-Replayed"] = "true"
            if interrupt is not None and (view := waits.wait_if_possible(definition.name, run.id, interrupt)):
                return answer_with(view, wait_seconds, headers, unfinished=202)
        return json_response(accepted_schema.dump(run), 202, headers)

    return blueprint
