"""`/job-schedules/<name>`: create, read, list, pause and delete schedules."""

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from app.api.access_control import AccessControl
from app.api.list_responses import ListResponses
from app.api.openapi import error_examples
from app.api.openapi.examples import CONFIGURED_SCHEDULE, SCHEDULE, SCHEDULE_BODIES
from app.api.openapi.operations import Header, Link, Operation, SuccessResponse, describe
from app.api.openapi.parameters import AGE, DRY_RUN, MAX_STALE, REQUEST_ID, SCHEDULE_KEY
from app.api.params.query_params import check_parameters
from app.api.params.request_parsing import (
    large_body_size,
    read_body,
    read_dry_run,
    read_key,
    read_request_context,
)
from app.api.polling import PolledResponses
from app.api.request_record import record
from app.api.responses import json_response
from app.auth.actions import Action
from app.common.byte_budget import ByteBudget
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.http_limits import MAX_BODY_BYTES
from app.runs.schedules.change import ScheduleChanger
from app.runs.schedules.create import ScheduleCreator
from app.runs.schedules.reader import MAX_LIST_BYTES, ScheduleReader
from schemas.job import CronJobSchema
from schemas.schedule_change import ScheduleChangeSchema, read_change
from schemas.schedule_view import CreatedSchedule, CreatedScheduleSchema, ScheduleViewSchema
from schemas.schedules import ScheduleSchema

_ALL_BODIES_BYTES = 2 * MAX_BODY_BYTES
"""What the larger bodies of all requests under way may have together: schedules are made one at a time."""

_LIST_BYTES = 4 * MAX_LIST_BYTES
"""What a list may take in memory: its schedules, and its response."""

_ALL_LISTS_BYTES = 2 * _LIST_BYTES
"""What all lists under way may take, until their clients have read them."""

_SAME_SCHEDULE = {"name": "$request.path.name", "id": "$response.body#/Id"}
_LINKS = {
    "read": Link(operation="schedules.read", parameters=_SAME_SCHEDULE),
    "change": Link(operation="schedules.change", parameters=_SAME_SCHEDULE),
    "delete": Link(operation="schedules.delete", parameters=_SAME_SCHEDULE),
}

_CREATE = Operation(
    tag="Schedules",
    summary="Create a schedule",
    text="A schedule is a request to start a run, and the times at which it is made. It may ask for what such a "
    "request may ask for. Kubernetes makes a queued run at each time, which waits for its dependencies and a slot like "
    "any other. While the queue is full, no schedule is made. The body is read as JSON whatever its Content-Type.",
    parameters=(DRY_RUN, SCHEDULE_KEY, REQUEST_ID),
    body=ScheduleSchema,
    body_examples=SCHEDULE_BODIES,
    body_required=True,
    successes=(
        SuccessResponse(
            status=201,
            text="The schedule is stored in the cluster.",
            schema=CreatedScheduleSchema,
            example=CreatedSchedule("mzxw6ytboi4q"),
            headers={
                "Location": Header(text="The path of the schedule.", example="/job-schedules/fibonacci/mzxw6ytboi4q"),
                "Idempotency-Replayed": Header(
                    text="`true`: an earlier request with the same Idempotency-Key created the schedule.",
                    example="true",
                    always=False,
                ),
            },
            links=_LINKS,
        ),
        SuccessResponse(
            text="With `dryRun=true`: the CronJob that would be stored.",
            schema=CronJobSchema,
            example={"object_metadata": {"name": "fibonacci-mzxw6ytboi4q"}, "spec": {"schedule": "0 0 * * *"}},
        ),
    ),
    errors=(
        *error_examples.QUERY,
        *error_examples.BODY,
        *error_examples.CREATE_SCHEDULE,
        *error_examples.IDEMPOTENCY,
    ),
    requires_access=True,
)
_READ = Operation(
    tag="Schedules",
    summary="Read a schedule",
    text="What it starts and when, its next time, and why it is refused, if its definition does not allow it any more.",
    successes=(SuccessResponse(text="The schedule.", schema=ScheduleViewSchema, example=SCHEDULE),),
    errors=(*error_examples.QUERY, *error_examples.SCHEDULE, *error_examples.API_SERVER),
    requires_access=True,
)
_READ_MANY = Operation(
    tag="Schedules",
    summary="List a definition's schedules",
    text="Those that requests have made, and those of the configuration, sorted by their ids. Of `Args`, "
    "`Environments` and `DependsOn` a list shows 1,024 characters each, and less where all have very many; `Truncated` "
    "names those that are not shown whole.",
    parameters=(MAX_STALE,),
    successes=(
        SuccessResponse(
            text="The schedules; empty if there are none.",
            schema=ScheduleViewSchema,
            many=True,
            example=(CONFIGURED_SCHEDULE, SCHEDULE),
            headers={
                "Age": AGE,
                "SlimFaas-Schedules": Header(
                    text="`own`: the caller may not list all schedules, so these are only those that it has made.",
                    example="own",
                    always=False,
                ),
            },
        ),
    ),
    errors=(*error_examples.LISTING, *error_examples.QUERY, *error_examples.API_SERVER),
    requires_access=True,
)
_CHANGE = Operation(
    tag="Schedules",
    summary="Pause or resume a schedule",
    text="A merge patch (RFC 7396) of `Suspend`; other fields can't be changed. When a schedule is resumed, Kubernetes "
    "makes one run for the last time that has passed meanwhile, unless that is longer ago than "
    "`StartingDeadlineSeconds`. Repeating the request is safe.",
    body=ScheduleChangeSchema,
    body_examples={"pause": {"Suspend": True}, "resume": {"Suspend": False}},
    body_required=True,
    body_type="application/merge-patch+json",
    successes=(SuccessResponse(text="The schedule as it is now.", schema=ScheduleViewSchema, example=SCHEDULE),),
    errors=(
        *error_examples.QUERY,
        *error_examples.BODY,
        *error_examples.SCHEDULE,
        *error_examples.CHANGE_SCHEDULE,
    ),
    requires_access=True,
)
_DELETE = Operation(
    tag="Schedules",
    summary="Delete a schedule",
    text="Its runs that are still queued are deleted with it. Those that are active or finished stay. Repeating the "
    "request is safe. If it fails, the schedule may be paused.",
    successes=(SuccessResponse(status=204, text="The schedule is deleted."),),
    errors=(*error_examples.QUERY, *error_examples.SCHEDULE, *error_examples.DELETE_SCHEDULE),
    requires_access=True,
)


def schedules_blueprint(
    access_control: AccessControl,
    creator: ScheduleCreator,
    reader: ScheduleReader,
    changer: ScheduleChanger,
    limiter: ConcurrencyLimiter,
    polled: PolledResponses,
) -> Blueprint:
    """Build the routes.

    Args:
        access_control: grants access to definitions.
        creator: makes schedules.
        reader: reads them.
        changer: pauses and deletes them.
        limiter: of requests that call the API server.
        polled: keeps lists for callers that poll.
    """
    blueprint = Blueprint("schedules", __name__, url_prefix="/job-schedules")
    schema, created_schema = ScheduleViewSchema(), CreatedScheduleSchema()
    body_budget = ByteBudget(_ALL_BODIES_BYTES, "bodies")
    lists = ListResponses(polled, most_bytes=_LIST_BYTES, all_bytes=_ALL_LISTS_BYTES)
    one_at_a_time = ConcurrencyLimiter(1, within=limiter, name="schedules")

    @blueprint.post("/<name>")
    @describe(_CREATE)
    def create(name: str) -> Response:
        access_control.require(name, Action.CREATE_SCHEDULE)
        check_parameters(request, "dryRun")
        dry_run, key = read_dry_run(request), read_key(request)
        with body_budget.reserve(large_body_size(request)):
            body = read_body(request)
            # The body may have come slowly: see `app.api.routes.jobs`.
            access = access_control.require(name, Action.CREATE_SCHEDULE)
            definition = access.definition
            context = replace(read_request_context(request), started_by=access.user)
            with one_at_a_time.acquire():
                if dry_run:
                    return json_response(creator.dry_run(definition, body, context=context))
                created = creator.create(definition, body, key=key, context=context)
        record(schedule_id=created.id, fields=created.fields)
        headers = {"Location": f"{request.script_root}/job-schedules/{definition.name}/{created.id}"}
        if created.replayed:
            headers["Idempotency-Replayed"] = "true"
        return json_response(created_schema.dump(created), 201, headers)

    @blueprint.get("/<name>")
    @describe(_READ_MANY)
    def read_many(name: str) -> Response:
        access = access_control.require(name, Action.LIST_SCHEDULES)
        check_parameters(request)

        def make() -> tuple[Any, None]:
            with limiter.acquire():
                views = reader.list(access.definition, access.owner)
            return schema.dump(views, many=True), None

        own = {"SlimFaas-Schedules": "own"} if access.own_only else {}
        return lists.respond(("schedules", access.definition.name, access.owner), make, lambda _: own)

    @blueprint.get("/<name>/<schedule_id>")
    @describe(_READ)
    def read(name: str, schedule_id: str) -> Response:
        access = access_control.require(name, Action.READ_SCHEDULE, key=schedule_id)
        check_parameters(request)
        with limiter.acquire():
            view = reader.get(access.definition, schedule_id, access.owner)
        return json_response(schema.dump(view))

    @blueprint.patch("/<name>/<schedule_id>")
    @describe(_CHANGE)
    def change(name: str, schedule_id: str) -> Response:
        access_control.require(name, Action.CHANGE_SCHEDULE, key=schedule_id)
        check_parameters(request)
        with body_budget.reserve(large_body_size(request)):
            suspend = read_change(read_body(request))
        access = access_control.require(name, Action.CHANGE_SCHEDULE, key=schedule_id)
        with limiter.acquire():
            view = changer.suspend(access.definition, schedule_id, access.owner, suspend=suspend)
        return json_response(schema.dump(view))

    @blueprint.delete("/<name>/<schedule_id>")
    @describe(_DELETE)
    def delete(name: str, schedule_id: str) -> Response:
        access = access_control.require(name, Action.DELETE_SCHEDULE, key=schedule_id)
        check_parameters(request)
        with limiter.acquire():
            changer.delete(access.definition, schedule_id, access.owner)
        return Response(status=204)

    return blueprint
