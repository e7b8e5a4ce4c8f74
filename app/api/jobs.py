"""`POST /job/<name>`: starting runs."""

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.api.calls import check_target, read_body
from app.api.description import faults
from app.api.description.examples import REQUESTS
from app.api.description.operations import Answer, Header, Link, Operation, describe
from app.api.description.parameters import QUERY_OF_A_RUN
from app.api.door import Door
from app.api.responses import json_response
from app.services.gate import Gate
from app.services.submit import Accepted, Submitter
from schemas.request import RequestSchema
from schemas.run import AcceptedSchema

_RUN = {"name": "$request.path.name", "id": "$response.body#/Id"}

_START = Operation(
    tag="Runs",
    summary="Start a run",
    text="The body changes what the definition permits; without one the run is what the definition says. It is read as "
    "JSON whatever its Content-Type, so `curl -d` works as it is. A value is applied as it was given, or the call is "
    "refused, naming every fault.",
    parameters=(QUERY_OF_A_RUN,),
    body=RequestSchema,
    bodies=REQUESTS,
    answers=(
        Answer(
            status=202,
            text="The API server has stored the run.",
            schema=AcceptedSchema,
            example=Accepted("flskh5ipglrj", "fibonacci-slimfaas-job-flskh5ipglrj"),
            headers={"Location": Header(text="Where the run can be read.", example="/job/fibonacci/flskh5ipglrj")},
            links={
                "read": Link(operation="runs.read", parameters=_RUN),
                "cancel": Link(operation="runs.cancel", parameters=_RUN),
            },
        ),
    ),
    faults=faults.OF_A_URL + faults.OF_A_BODY + faults.OF_STORING,
    guarded=True,
)


class RestOfPath(BaseConverter):
    """All that is left of a path, as it was sent: slashes at its ends or in a row, or nothing at all."""

    regex = ".*"
    part_isolating = False


def jobs_blueprint(door: Door, submitter: Submitter, gate: Gate) -> Blueprint:
    """Build the routes; the application must know `RestOfPath` as `rest`."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/job")
    accepted_schema = AcceptedSchema()

    @blueprint.post("/<name>", defaults={"path": ""})
    @blueprint.post("/<name>/<rest:path>")
    @describe(_START)
    def start(name: str, path: str) -> Response:
        definition = door.enter(name)
        check_target(request)
        query = request.query_string.decode("ascii")
        with gate.place():
            run = submitter.submit(definition, read_body(request), path=path, query=query)
        headers = {"Location": f"/job/{name}/{run.id}"}
        return json_response(accepted_schema.dump(run), 202, headers)

    return blueprint
