"""Example runs, definitions and request bodies."""

from schemas.definition_status import DefinitionView, DependencyView
from schemas.run import Resources, RunView, Status

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
    depends_on=(
        DependencyView(
            name="fibonacci1", kind="Deployment", ready=False, ready_replicas=0, message="Deployment: 0 of 1 ready"
        ),
    ),
)

REQUEST_BODIES = {
    "arguments": {"Args": ["42"]},
    "everything": {
        "Args": ["42", "43"],
        "Image": "axaguildev/fibonacci-batch:1.0.1",
        "DependsOn": ["fibonacci1"],
        "Resources": {"Requests": {"cpu": "200m"}, "Limits": {"cpu": "400m", "memory": "64Mi"}},
        "Environments": [{"Name": "LOG_LEVEL", "Value": "debug"}],
        "BackoffLimit": 0,
        "TtlSecondsAfterFinished": 3600,
        "RestartPolicy": "Never",
    },
}
"""Example bodies of `POST /job/<name>`, by what they show."""
