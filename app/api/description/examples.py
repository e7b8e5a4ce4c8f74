"""Runs and requests to show."""

from schemas.run import RunView, Status

QUEUED = RunView(
    id="flskh5ipglrj",
    name="fibonacci-slimfaas-job-flskh5ipglrj",
    status=Status.QUEUED,
    position_in_queue=1,
    in_queue_timestamp=1_763_942_400_000,
    message="waits for fibonacci1 (Deployment: 0 of 1 ready)",
)

REQUESTS = {
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
"""Bodies of a call that starts a run, by what they show."""
