"""What callers are told of a schedule: above all, when its next run is made."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.request_context import RequestContext
from app.kube.schedules import build_requested_cronjob
from app.runs.schedules.view import build_schedule_view, measure_schedule
from schemas.definition import Definition
from schemas.schedule_view import ScheduleStatus, ScheduleView, ScheduleViewSchema
from schemas.schedules import check_schedule, load_schedule

DEFINITION = Definition("report", "team/app:1")


def view_of(entry: dict[str, Any], now: str, **changes: Any) -> ScheduleView:
    schedule, faults = load_schedule(entry)
    spec = check_schedule(DEFINITION, schedule, faults)
    cronjob = build_requested_cronjob(
        schedule, spec, "abcdefghijkl", call="mark", idempotent=None, context=RequestContext()
    )
    cronjob["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:10Z"}
    return build_schedule_view({**cronjob, **changes}, DEFINITION, moment(now))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "expected"),
    [
        ("0 0 * * *", "", "2026-06-01T12:00:00Z", "2026-06-02T00:00:00Z"),
        ("0 0 * * *", "Europe/Paris", "2026-06-01T12:00:00Z", "2026-06-01T22:00:00Z"),
        # 02:30 does not exist on 29 March 2026, and exists twice on 25 October 2026.
        ("30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
        ("30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("30 2 * * *", "Europe/Paris", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        # A period counts from the creation.
        ("@every 90m", "", "2026-01-01T00:00:11Z", "2026-01-01T01:30:10Z"),
        ("@every 90m", "", "2026-01-01T01:30:10Z", "2026-01-01T03:00:10Z"),
    ],
)
def test_next_run__is_when_kubernetes_makes_it(schedule: str, zone: str, now: str, expected: str) -> None:
    view = view_of({"Schedule": schedule, "TimeZone": zone}, now)
    assert view.next_timestamp == moment(expected).timestamp() * 1000


def test_next_run__of_a_period_counts_from_the_last_run() -> None:
    status = {"lastScheduleTime": "2026-01-01T05:00:00Z", "active": [{"name": "x"}]}
    view = view_of({"Schedule": "@every 1h"}, "2026-01-01T05:20:00Z", status=status)
    assert view.next_timestamp == moment("2026-01-01T06:00:00Z").timestamp() * 1000
    assert view.last_timestamp == moment("2026-01-01T05:00:00Z").timestamp() * 1000
    assert view.unfinished_runs == 1


def test_next_run__is_unknown_of_a_paused_schedule_and_of_one_without_times() -> None:
    paused = view_of({"Schedule": "@daily", "Suspend": True}, "2026-01-01T05:20:00Z")
    assert (paused.next_timestamp, paused.status, paused.suspend) == (-1, ScheduleStatus.SUSPENDED, True)
    assert view_of({"Schedule": "0 0 31 2 *"}, "2026-01-01T05:20:00Z").next_timestamp == -1


def test_measure__is_more_than_the_response_has() -> None:
    view = view_of({"Schedule": "@daily", "Args": ["\U0001f600" * 500, '"' * 200]}, "2026-01-01T05:20:00Z")
    assert measure_schedule(view) >= len(str(ScheduleViewSchema().dump(view)))
