"""Tables: the output of `kubectl get`."""

from datetime import UTC, datetime, timedelta

import pytest

from devcluster.durations import shorten_duration
from devcluster.kinds import EVENT, JOB, KINDS, POD
from devcluster.tables import build_table

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def row(kind, obj):
    """Return the cells of one object by column."""
    table = build_table(kind, [obj], {}, moment=NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    cells = table["rows"][0]["cells"]
    assert len(cells) == len(names)
    return dict(zip(names, cells, strict=True))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (330, "5m30s"), (600, "10m"),
        (10_799, "179m"), (10_800, "3h"), (12_600, "3h30m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
        (190_800, "2d5h"), (691_200, "8d"), (63_072_000, "2y"), (63_158_400, "2y1d"), (400_000_000, "12y"),
    ],
)  # fmt: skip
def test_shorten_duration__prints_two_or_three_figures(seconds, shown):
    """As kubectl does."""
    assert shorten_duration(seconds) == shown


def job(spec=None, **status):
    template = {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]}}
    return {
        "metadata": {"name": "one", "creationTimestamp": ago(30)},
        "spec": {"completions": 1, "parallelism": 1, "template": template, **(spec or {})},
        "status": status,
    }


@pytest.mark.parametrize(
    ("obj", "cells"),
    [
        (job(), {"Status": "Running", "Completions": "0/1", "Duration": "", "Age": "30s", "Selector": "<none>"}),
        (job(conditions=[{"type": "Suspended", "status": "True"}]), {"Status": "Suspended"}),
        (job(conditions=[{"type": "FailureTarget", "status": "True"}]), {"Status": "FailureTarget"}),
        (job(startTime=ago(20)), {"Status": "Running", "Duration": "20s"}),
        (
            job(
                conditions=[{"type": "Complete", "status": "True"}],
                succeeded=1,
                startTime=ago(20),
                completionTime=ago(15),
            ),
            {"Status": "Complete", "Completions": "1/1", "Duration": "5s", "Containers": "a,b", "Images": "x:1,y:1"},
        ),
        (job({"selector": {"matchLabels": {"a": "b"}}}), {"Selector": "a=b"}),
    ],
)
def test_build_table__shows_the_status_of_a_job(obj, cells):
    """Status, completions and duration follow the Job's conditions and times."""
    assert row(JOB, obj).items() >= cells.items()


def pod(phase, *states, restarts=0, **metadata):
    statuses = [
        {"name": f"c{i}", "ready": "running" in state, "restartCount": restarts, "state": state}
        for i, state in enumerate(states)
    ]
    return {
        "metadata": {"name": "one", "creationTimestamp": ago(5), **metadata},
        "spec": {"containers": [{"name": f"c{i}"} for i in range(max(1, len(states)))]},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


RUNNING = {"running": {"startedAt": ago(3)}}


@pytest.mark.parametrize(
    ("obj", "cells"),
    [
        (pod("Pending"), {"Ready": "0/1", "Status": "Pending", "Restarts": "0", "Node": "<none>"}),
        (pod("Pending", {"waiting": {"reason": "ImagePullBackOff"}}), {"Status": "ImagePullBackOff"}),
        (pod("Running", RUNNING), {"Ready": "1/1", "Status": "Running"}),
        (pod("Running", RUNNING, restarts=2), {"Restarts": "2"}),
        (pod("Succeeded", {"terminated": {"reason": "Completed", "exitCode": 0}}), {"Status": "Completed"}),
        (pod("Failed", {"terminated": {"reason": "Error", "exitCode": 3}}), {"Status": "Error"}),
        (pod("Failed", {"terminated": {"exitCode": 3}}), {"Status": "ExitCode:3"}),
        (pod("Failed", {"terminated": {"exitCode": 137, "signal": 9}}), {"Status": "Signal:9"}),
        (pod("Running", RUNNING, deletionTimestamp=ago(1)), {"Status": "Terminating"}),
    ],
)
def test_build_table__shows_the_status_of_a_pod(obj, cells):
    """It is that of the container that explains the pod's state best."""
    assert row(POD, obj).items() >= cells.items()


def test_build_table__shows_the_object_of_an_event():
    """As kind/name. A new-style event, with only an eventTime, also has a last seen time and a count."""
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Job", "name": "one"},
        "reason": "Waiting",
        "type": "Normal",
        "message": " for a slot\n",
        "eventTime": "2026-01-01T11:59:00.000000Z",
        "reportingComponent": "slimfaas.dev/dispatcher",
    }
    cells = {"Last Seen": "60s", "Object": "job/one", "Message": "for a slot", "Count": 1, "Reason": "Waiting"}
    assert row(EVENT, event).items() >= cells.items()


def test_build_table__supports_every_kind():
    for kind in KINDS:
        table = build_table(kind, [], {"resourceVersion": "1"})
        assert table["columnDefinitions"]
        assert table["rows"] == []


def test_build_table__includes_the_requested_part_of_the_object():
    """`includeObject` is None, Metadata (the default) or Object."""
    obj = pod("Running", RUNNING)
    rows = [build_table(POD, [obj], {}, include)["rows"][0] for include in ("None", "Metadata", "Object")]
    assert ["object" in one for one in rows] == [False, True, True]
    assert rows[1]["object"]["kind"] == "PartialObjectMetadata"
    assert rows[2]["object"] is obj
