"""`/job/<name>`: starting runs and reading them."""

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.api.calls import check_target, read_body
from app.api.responses import json_response
from app.services.callers import FORWARDING_HEADERS, Callers
from app.services.definitions import Catalogue
from app.services.gate import Gate
from app.services.runs import Runs
from app.services.submit import Submitter
from schemas.definition import Definition
from schemas.run import AcceptedSchema, RunSchema


class RestOfPath(BaseConverter):
    """All that is left of a path, as it was sent: slashes at its ends or in a row, or nothing at all."""

    regex = ".*"
    part_isolating = False


def jobs_blueprint(catalogue: Catalogue, callers: Callers, submitter: Submitter, runs: Runs, gate: Gate) -> Blueprint:
    """Build the routes; the application must know `RestOfPath` as `rest`."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/job")
    accepted_schema, run_schema = AcceptedSchema(), RunSchema()

    def admit_caller(name: str) -> Definition:
        definition = catalogue.get(name)
        forwarded = any(header in request.headers for header in FORWARDING_HEADERS)
        callers.check(definition, request.remote_addr, forwarded=forwarded)
        return definition

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    def start(name: str, path: str) -> Response:
        definition = admit_caller(name)
        check_target(request)
        query = request.query_string.decode("ascii")
        with gate.place():
            run = submitter.submit(definition, read_body(request), path=path, query=query)
        headers = {"Location": f"/job/{name}/{run.id}"}
        return json_response(accepted_schema.dump(run), 202, headers)

    @blueprint.get("/<name>/<run_id>")
    def read(name: str, run_id: str) -> Response:
        admit_caller(name)
        with gate.place():
            view = runs.get(name, run_id)
        return json_response(run_schema.dump(view))

    return blueprint
