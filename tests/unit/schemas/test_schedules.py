"""Schedules of a configuration, and of a request."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.configuration import load_schema, parse_configuration
from schemas.cron import parse_cron
from schemas.definition import Definition, Visibility
from schemas.documents import NotJson
from schemas.faults import Refused
from schemas.schedules import (
    MAX_SCHEDULES,
    SCHEDULE_FIELDS,
    Schedule,
    ScheduleSchema,
    check_schedule,
    load_schedule,
    read_requested_schedule,
    read_schedule,
)
from schemas.time_zones import find_time_zone

REPORT = {
    "Image": "team/report:1",
    "ImagesWhitelist": ["team/report:*"],
    "Resources": {"Limits": {"cpu": "1"}},
    "BackoffLimit": 2,
    "TtlSecondsAfterFinished": 600,
    "EnvironmentsWhitelist": ["MONTH"],
}


def document(*schedules: object, name: str = "report", **fields: Any) -> str:
    """A configuration with one definition and its schedules."""
    return json.dumps({"Configurations": {"report": {**REPORT, **fields}}, "Schedules": {name: list(schedules)}})


def faults_of(text: str) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refused:
        parse_configuration(text)
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


@pytest.mark.parametrize("none", [None, {}, {"report": None}, {"report": []}])
def test_schedules__may_be_none_in_every_form(none: object) -> None:
    value = {"Configurations": {"report": REPORT}, "Schedules": none}
    assert parse_configuration(json.dumps(value))["report"].schedules == ()


def test_schedules__belong_to_their_definition_whatever_its_case() -> None:
    definition = parse_configuration(document({"Schedule": "0 6 * * *"}, name="Report"))["report"]
    assert [schedule.cron for schedule in definition.schedules] == ["0 6 * * *"]


def test_schedule__has_all_fields_of_a_request_and_its_own() -> None:
    entry = {
        "Schedule": "0 6 1 * *",
        "TimeZone": "Europe/Paris",
        "StartingDeadlineSeconds": 600,
        "ConcurrencyPolicy": "Forbid",
        "Suspend": True,
        "Args": ["--month"],
        "Image": "team/report:2",
        "Resources": {"Limits": {"cpu": "500m"}},
        "Environments": [{"Name": "MONTH", "Value": "1"}],
        "DependsOn": ["database"],
        "BackoffLimit": 0,
        "TimeoutSeconds": 60,
        "PendingTimeoutSeconds": 60,
        "QueueTimeoutSeconds": 60,
        "TtlSecondsAfterFinished": 60,
        "RestartPolicy": "OnFailure",
        "Priority": "",
    }
    assert set(entry) == set(SCHEDULE_FIELDS)
    definition = parse_configuration(document(entry))["report"]
    (schedule,) = definition.schedules
    assert (schedule.time_zone, schedule.starting_deadline_seconds) == ("Europe/Paris", 600)
    assert (schedule.concurrency_policy, schedule.suspend) == ("Forbid", True)
    run = check_schedule(definition, schedule)
    assert (run.args, run.image, run.limits, run.depends_on) == (
        ("--month",),
        "team/report:2",
        {"cpu": "500m"},
        ("database",),
    )
    assert json.loads(schedule.text) == entry


def test_schedule__has_defaults() -> None:
    (schedule,) = parse_configuration(document({"Schedule": "@daily", "TimeZone": ""}))["report"].schedules
    assert (schedule.time_zone, schedule.concurrency_policy, schedule.suspend) == ("Etc/UTC", None, None)


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"Schedule": "0 0 * *"}, "/Schedule", "not a cron expression: expected exactly 5 fields, found 4: [0 0 * *]"),
        ({"Schedule": "0 0 * * 7"}, "/Schedule", "not a cron expression: end of range (7) above maximum (6): 7"),
        ({"Schedule": "TZ=UTC 0 0 * * *"}, "/Schedule", "the time zone is a field of its own, TimeZone"),
        ({"Schedule": "CRON_TZ=UTC 0 0 * * *"}, "/Schedule", "the time zone is a field of its own, TimeZone"),
        ({"Schedule": ""}, "/Schedule", "must not be empty"),
        ({"Schedule": "*" * 513}, "/Schedule", "must have at most 512 characters"),
        ({"Schedule": None}, "/Schedule", "must be a string"),
        ({"Schedule": 5}, "/Schedule", "must be a string"),
        ({"TimeZone": "Paris"}, "/TimeZone", "not a time zone of the IANA database; write it like Europe/Paris"),
        (
            {"TimeZone": "../etc/passwd"},
            "/TimeZone",
            "not a time zone of the IANA database; write it like Europe/Paris",
        ),
        ({"TimeZone": "Local"}, "/TimeZone", "not a time zone of the IANA database; write it like Europe/Paris"),
        ({"StartingDeadlineSeconds": 9}, "/StartingDeadlineSeconds", "must be at least 10"),
        ({"StartingDeadlineSeconds": "60"}, "/StartingDeadlineSeconds", "must be an integer"),
        ({"ConcurrencyPolicy": "forbid"}, "/ConcurrencyPolicy", "must be one of Allow, Forbid, Replace"),
        ({"Suspend": "true"}, "/Suspend", "must be a boolean"),
        ({"Shedule": "@daily"}, "/Shedule", "unknown field; did you mean Schedule?"),
        ({"Visibility": "Public"}, "/Visibility", "unknown field"),
        ({"Image": "other/image:1"}, "/Image", "not an image that this definition allows"),
        ({"BackoffLimit": 3}, "/BackoffLimit", "above this definition's maximum of 2"),
        ({"TtlSecondsAfterFinished": 601}, "/TtlSecondsAfterFinished", "above this definition's maximum of 600"),
        ({"Resources": {"Limits": {"cpu": "2"}}}, "/Resources/Limits/cpu", "above this definition's maximum of 1"),
        (
            {"Resources": {"Limits": {"memory": "1Gi"}}},
            "/Resources/Limits/memory",
            "not among the Limits of this definition",
        ),
        ({"Environments": [{"Value": "1"}]}, "/Environments/0", "needs exactly one Name"),
        ({"Environments": [{"Name": "A", "SecretRef": {}}]}, "/Environments/0/SecretRef", "unknown field"),
    ],
)
def test_schedule__is_checked_like_a_request(change: dict[str, Any], pointer: str, message: str) -> None:
    entry = {"Schedule": "@daily", **change}
    assert faults_of(document({"Schedule": "@daily"}, entry)) == [(f"/Schedules/report/1{pointer}", message)]


@pytest.mark.parametrize("entry", [None, "0 0 * * *", ["0 0 * * *"], 5])
def test_schedule__is_an_object(entry: object) -> None:
    assert faults_of(document(entry)) == [("/Schedules/report/0", "must be an object")]


def test_schedule__needs_times() -> None:
    assert faults_of(document({"Args": ["1"]})) == [("/Schedules/report/0/Schedule", "required, but missing")]


def test_schedules__obey_overridable() -> None:
    [(pointer, message)] = faults_of(document({"Schedule": "@daily", "Args": ["1"]}, Overridable=[]))
    assert pointer == "/Schedules/report/0/Args"
    assert "Overridable" in message


def test_schedules__of_unknown_definitions_are_faults() -> None:
    expected = [("/Schedules/~1reports", "Configurations has no definition of this name")]
    assert faults_of(document({"Schedule": "@daily"}, name="/reports")) == expected


def test_schedules__under_names_that_differ_in_case_are_faults() -> None:
    value = {"Configurations": {"report": REPORT}, "Schedules": {"report": [], "Report": []}}
    expected = [("/Schedules/Report", "the same name as report: capitals count as lower case")]
    assert faults_of(json.dumps(value)) == expected


def test_schedules__are_bounded_in_number() -> None:
    entries = [{"Schedule": "@daily"}] * MAX_SCHEDULES
    assert len(parse_configuration(document(*entries))["report"].schedules) == MAX_SCHEDULES
    assert faults_of(document(*entries, entries[0])) == [("/Schedules/report", "must have at most 100 items")]


def test_schedules__make_definitions_differ() -> None:
    """The log says which definitions have changed."""
    first, second = (parse_configuration(document({"Schedule": "@daily", "Args": [args]})) for args in "12")
    assert first != second


def test_read_schedule__reports_all_faults_of_a_body_at_once() -> None:
    definition = Definition("report", "team/report:1")
    schedule, faults = read_schedule(b'{"Schedule": "x", "TimeZone": 1, "ConcurrencyPolicy": "No", "BackoffLimit": 7}')
    with pytest.raises(Refused) as refused:
        check_schedule(definition, schedule, faults)
    assert [fault.pointer for fault in refused.value.faults] == [
        "/BackoffLimit",
        "/ConcurrencyPolicy",
        "/Schedule",
        "/TimeZone",
    ]


@pytest.mark.parametrize(("body", "error"), [(b"", NotJson), (b"[]", Refused), (b"{", NotJson)])
def test_read_schedule__needs_an_object(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_schedule(body)


def test_json_schema__has_exactly_the_fields_of_a_schedule() -> None:
    declared = load_schema()["$defs"]["schedule"]["properties"]
    assert set(declared) == {field.data_key for field in ScheduleSchema().fields.values()}


@pytest.mark.parametrize("name", SCHEDULE_FIELDS)
def test_json_schema__has_examples_that_pass_the_checks_beyond_the_schema(name: str) -> None:
    for example in load_schema()["$defs"]["schedule"]["properties"][name].get("examples", ()):
        _, faults = load_schedule({"Schedule": "@daily", name: example})
        assert faults == []


def seconds(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


def next_tick(schedule: Schedule, moment: int) -> int | None:
    """The first time of a schedule after a moment, in seconds since the epoch."""
    zone = find_time_zone(schedule.time_zone)
    assert zone is not None
    return parse_cron(schedule.cron).next_after(moment, zone)


def test_next_tick__is_in_the_schedules_time_zone() -> None:
    schedule, _ = load_schedule({"Schedule": "30 2 * * *", "TimeZone": "Europe/Paris"})
    assert next_tick(schedule, seconds(2026, 3, 27, 12)) == seconds(2026, 3, 28, 1, 30)
    assert next_tick(schedule, seconds(2026, 3, 28, 12)) == seconds(2026, 3, 30, 0, 30)  # skipped on the 29th


def test_next_tick__is_none_where_no_time_matches() -> None:
    schedule, _ = load_schedule({"Schedule": "0 0 30 2 *"})
    assert next_tick(schedule, 0) is None


def requested(visibility: Visibility, policy: str | None) -> Schedule:
    definition = Definition("fibonacci", image="busybox:1", visibility=visibility)
    body = {"Schedule": "@hourly"} | ({} if policy is None else {"ConcurrencyPolicy": policy})
    return read_requested_schedule(definition, json.dumps(body).encode())[0]


@pytest.mark.parametrize(
    ("visibility", "policy", "read"),
    [
        ("Public", None, "Forbid"),
        ("Public", "Replace", "Replace"),
        ("Private", None, None),
        ("Private", "Allow", "Allow"),
    ],
)
def test_read_requested_schedule__bounds_the_unfinished_runs_of_public_definitions(
    visibility: Visibility, policy: str | None, read: str | None
) -> None:
    assert requested(visibility, policy).concurrency_policy == read


def test_read_requested_schedule__refuses_runs_of_public_definitions_that_pile_up() -> None:
    with pytest.raises(Refused) as refusal:
        requested("Public", "Allow")
    assert [fault.pointer for fault in refusal.value.faults] == ["/ConcurrencyPolicy"]
