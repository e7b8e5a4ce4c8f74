"""Example runs, definitions and request bodies."""

from dataclasses import replace
from typing import Any

from schemas.definition_status import DefinitionScheduleView, DefinitionView, DependencyView
from schemas.definition_view import RequestBoundsView
from schemas.run import Resources, RunView, Status
from schemas.schedule_view import ScheduleStatus, ScheduleView

QUEUED = RunView(
    id="flskh5ipglrj",
    name="fibonacci-slimfaas-job-flskh5ipglrj",
    status=Status.QUEUED,
    reason="WaitingForDependencies",
    message="waits for fibonacci1 (Deployment: 0 of 1 ready)",
    position_in_queue=1,
    in_queue_timestamp=1_763_942_400_250,
    image="axaguildev/fibonacci-batch:1.0.1",
    args=("42",),
    resources=Resources({"cpu": "400m", "memory": "64Mi"}, {"cpu": "400m", "memory": "64Mi"}),
    depends_on=("fibonacci1",),
    environments=("SLIMFAAS_JOB_NAME", "SLIMFAAS_JOB_ID"),
)

SUCCEEDED = RunView(
    id="mzxw6ytboi4q",
    name="fibonacci-slimfaas-job-mzxw6ytboi4q",
    status=Status.SUCCEEDED,
    in_queue_timestamp=1_763_942_100_500,
    start_timestamp=1_763_942_101_000,
    end_timestamp=1_763_942_104_000,
    queue_duration_milliseconds=500,
    run_duration_milliseconds=3000,
    attempts=1,
    exit_code=0,
    result="267914296",
    image="axaguildev/fibonacci-batch:1.0.1",
    args=("42",),
    environments=("SLIMFAAS_JOB_NAME", "SLIMFAAS_JOB_ID"),
)

DEFINITION = DefinitionView(
    name="fibonacci",
    visibility="Public",
    image="axaguildev/fibonacci-batch:1.0.1",
    number_parallel_job=2,
    active_runs=0,
    queue_length=1,
    max_queued=1000,
    overridable=("Args", "Image"),
    depends_on=(
        DependencyView(
            name="fibonacci1", kind="Deployment", ready=False, ready_replicas=0, message="Deployment: 0 of 1 ready"
        ),
    ),
    source="Configuration",
    images_whitelist=("axaguildev/fibonacci-batch:*",),
    resources=Resources({"cpu": "400m"}, {"cpu": "400m", "memory": "400Mi"}),
    schedules=(
        DefinitionScheduleView(
            status=ScheduleStatus.ACTIVE,
            schedule="0 0 * * *",
            time_zone="Europe/Paris",
            suspend=False,
            source="Configuration",
            next_timestamp=1_764_025_200_000,
        ),
    ),
)

BOUNDS = RequestBoundsView(
    name="fibonacci",
    visibility="Public",
    source="Configuration",
    number_parallel_job=2,
    max_queued=1000,
    overridable=("Args", "Image"),
    image="axaguildev/fibonacci-batch:latest",
    images_whitelist=("axaguildev/fibonacci-batch:*",),
    args=None,
    resources=Resources({"cpu": "400m"}, {"cpu": "400m", "memory": "400Mi"}),
    depends_on=("fibonacci1",),
    environments=("LOG_LEVEL",),
    environments_whitelist=("LOG_LEVEL", "REPORT_*"),
    backoff_limit=1,
    max_backoff_limit=1,
    timeout_seconds=3600,
    pending_timeout_seconds=None,
    queue_timeout_seconds=None,
    ttl_seconds_after_finished=36000,
    restart_policy="Never",
    queue="",
    priority="",
    priorities_whitelist=(),
    permitted=(
        "Cancel",
        "ChangeSchedule",
        "CreateSchedule",
        "DeleteSchedule",
        "Read",
        "ReadLog",
        "ReadSchedule",
        "Start",
    ),
    permitted_on_own=(),
)

REQUEST_BODIES: dict[str, dict[str, Any]] = {
    "arguments": {"Args": ["42"]},
    "everything": {
        "Args": ["42", "43"],
        "Image": "axaguildev/fibonacci-batch:1.0.1",
        "DependsOn": ["fibonacci1"],
        "Resources": {"Requests": {"cpu": "200m"}, "Limits": {"cpu": "400m", "memory": "64Mi"}},
        "Environments": [{"Name": "LOG_LEVEL", "Value": "debug"}],
        "BackoffLimit": 0,
        "QueueTimeoutSeconds": 600,
        "TtlSecondsAfterFinished": 3600,
        "RestartPolicy": "Never",
    },
}
"""Example bodies of `POST /job/<name>`, by what they show."""

SCHEDULE = ScheduleView(
    id="mzxw6ytboi4q",
    name="fibonacci",
    cron_job="fibonacci-mzxw6ytboi4q",
    schedule="0 0 * * *",
    time_zone="Europe/Paris",
    next_timestamp=1_764_025_200_000,
    last_timestamp=1_763_938_800_000,
    image="axaguildev/fibonacci-batch:1.0.1",
    args=("42",),
    resources=Resources({"cpu": "400m", "memory": "64Mi"}, {"cpu": "400m", "memory": "64Mi"}),
    environments=("SLIMFAAS_JOB_NAME", "SLIMFAAS_JOB_ID"),
)

CONFIGURED_SCHEDULE = replace(
    SCHEDULE,
    id="flskh5ip",
    cron_job="fibonacci-flskh5ip",
    schedule="0 0 * * 0",
    source="Configuration",
    next_timestamp=1_764_457_200_000,
)

SCHEDULE_BODIES = {
    "daily": {"Schedule": "0 0 * * *", "Args": ["42"]},
    "everything": {
        "Schedule": "30 7 * * mon-fri",
        "TimeZone": "Europe/Paris",
        "StartingDeadlineSeconds": 600,
        "ConcurrencyPolicy": "Forbid",
        "Suspend": False,
        **REQUEST_BODIES["everything"],
    },
}
"""Example bodies of `POST /job-schedules/<name>`, by what they show."""
