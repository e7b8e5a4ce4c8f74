"""Objects that the API server accepts, with anything in the fields that it does not check.

A watch that meets an object that it can't read begins again and again, and nothing is admitted meanwhile. So nothing
that is written into one object may make any reading of it raise.
"""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from app.auth.addresses import read_address
from app.auth.identities import identify_pod
from app.dispatcher.intent import Intent
from app.dispatcher.lease import build_lease, read_lease, read_renew_time
from app.domain.readiness import assess
from app.kube import labels
from app.kube.attempts import read_attempt
from app.kube.parsing import read_run, read_workload
from app.kube.pod_events import find_last_refusal, find_mount_failure
from app.kube.schedule_records import is_schedule, read_stored_schedule
from app.notifications.event import build_event_request
from app.runs.abridged import abridge, measure, trim_job
from app.runs.leader_status import describe_leader_absence
from app.runs.run_status import awaits_pod_since, build_view, possible_statuses
from app.runs.schedules.view import build_schedule_view
from schemas.definition import Definition
from schemas.run import RunSchema
from schemas.run_container import DEFAULT_CONTAINER_ANNOTATION
from schemas.schedule_view import ScheduleViewSchema
from tests.support.selection import slow

Make = Callable[[], Any]

TEXTS = (
    *("", "x", "a" * 5000, "\n", "\x1b[31m", "\u202e", "\u00b2", "\u0661", "..", "/", "null", "true", "-1", "9" * 10),
    *("9" * 5000, "1e400", "[" * 3000, "[]", "{}", '["db"]', '[["a", 1]]', "[" + "9" * 5000 + "]", "\\u{41}", "\\s"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "2026-W01-1T00:00:00Z", "20260101T000000Z"),
    '{"format":1,"holder":"a","transitions":3,"sequence":1e9,"complete":true,"runs":[["u",1]]}',
    '{"Schedule":"@every 1ns","Args":["x"],"Suspend":true}',
)
TIMES = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00Z", None)
NUMBERS = (0, 1, -1, 2**31 - 1)
NAME, CRONJOB = "public-slimfaas-job-aaaaaaaaaaaa", "public-aaaaaaaaaaaa"
ANNOTATIONS = (
    *(value for name, value in vars(labels).items() if name.endswith("_ANNOTATION")),
    DEFAULT_CONTAINER_ANNOTATION,
)


class Hostile:
    """Makes objects. Every field that may be missing is missing now and then."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one_of(self, *values: Any) -> Any:
        """Return one of these values."""
        return self._random.choice(values)

    def text(self) -> str:
        """Return any text."""
        return str(self.one_of(*TEXTS))

    def time(self) -> str | None:
        """Return any time, or none."""
        found: str | None = self.one_of(*TIMES)
        return found

    def number(self) -> int:
        """Return any 32-bit integer."""
        return int(self.one_of(*NUMBERS))

    def some(self, **fields: Make) -> dict[str, Any]:
        """Make some of these fields."""
        made = {name: make() for name, make in fields.items() if self._random.random() < 0.7}
        return {name: value for name, value in made.items() if value is not None}

    def metadata(self, name: str, **own_labels: str) -> dict[str, Any]:
        """Make metadata with any annotations of ours."""
        owner = {"uid": "u1", "controller": True, "kind": "Job", "name": NAME, "apiVersion": "batch/v1"}
        return {
            "name": name,
            "uid": self.one_of("u1", "u2"),
            "resourceVersion": str(self._random.randint(1, 10**6)),
            "creationTimestamp": self.one_of(*TIMES[:-1]),
            "labels": own_labels,
            **self.some(
                annotations=lambda: {name: self.text() for name in ANNOTATIONS if self._random.random() < 0.5},
                deletionTimestamp=self.time,
                generation=self.number,
                ownerReferences=lambda: self.one_of([], [owner], [{**owner, "controller": False}]),
            ),
        }

    def conditions(self, *types: str) -> Any:
        """Make conditions of these types."""

        def make() -> dict[str, Any]:
            more = self.some(reason=self.text, message=self.text, lastTransitionTime=self.time)
            return {"type": self.one_of(*types), "status": self.one_of("True", "False", "Unknown"), **more}

        return self.one_of(None, [make()], [make(), make()])

    def container(self, name: str) -> dict[str, Any]:
        """Make a container."""
        rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": self.one_of(None, [1])}}
        more = self.some(
            args=lambda: [self.text()],
            env=lambda: [{"name": self.text() or "x"}],
            resources=lambda: self.some(limits=lambda: {"cpu": "1"}),
            restartPolicy=lambda: self.one_of("Always", "Never", "OnFailure"),
            restartPolicyRules=lambda: [rule],
        )
        return {"name": name, "image": self.text(), **more}

    def pod_spec(self) -> dict[str, Any]:
        """Make the spec of a pod."""
        names = self._random.sample(["public", "a", "b"], self._random.randint(1, 3))
        more = self.some(initContainers=lambda: [self.container("i")], hostNetwork=lambda: True)
        policy = self.one_of("Never", "OnFailure")
        return {"restartPolicy": policy, "containers": [self.container(name) for name in names], **more}

    def job(self, name: str = NAME) -> dict[str, Any]:
        """Make a Job with our labels."""
        uncounted = {"failed": ["u"], "succeeded": ["u"]}
        types = ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet", "x")
        counts = dict.fromkeys(("active", "failed", "succeeded", "ready", "terminating"), self.number)
        own_labels = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: self.one_of("public", "")}
        return {
            "metadata": self.metadata(self.one_of(name, "x.y"), **own_labels),
            "spec": {
                "template": {"metadata": self.metadata("x"), "spec": self.pod_spec()},
                **self.some(
                    suspend=lambda: self.one_of(True, False),
                    parallelism=lambda: self.one_of(0, 1, 5),
                    backoffLimit=self.number,
                    managedBy=self.text,
                ),
            },
            **self.some(
                status=lambda: self.some(
                    conditions=lambda: self.conditions(*types),
                    startTime=self.time,
                    completionTime=self.time,
                    uncountedTerminatedPods=lambda: self.one_of({}, uncounted),
                    **counts,
                )
            ),
        }

    def state(self) -> dict[str, Any]:
        """Make the state of a container."""
        ended = {"exitCode": self.number(), **self.some(reason=self.text, message=self.text, finishedAt=self.time)}
        waiting = self.some(reason=self.text, message=self.text)
        found: dict[str, Any] = self.one_of({}, {"running": {}}, {"terminated": ended}, {"waiting": waiting})
        return found

    def pod(self) -> dict[str, Any]:
        """Make a pod of a run."""

        def statuses(*names: str) -> list[dict[str, Any]]:
            more = self.some(state=self.state, lastState=self.state, started=lambda: self.one_of(True, False))
            return [{"name": name, "restartCount": self.number(), **more} for name in names]

        return {
            "metadata": self.metadata("p", **{labels.DEFINITION_LABEL: "public"}),
            "spec": self.pod_spec(),
            **self.some(
                status=lambda: self.some(
                    phase=lambda: self.one_of("Pending", "Running", "Succeeded", "Failed", "Unknown"),
                    reason=self.text,
                    message=self.text,
                    podIPs=lambda: self.one_of([], [{}], [{"ip": self.text()}, {"ip": "10.0.0.1"}]),
                    conditions=lambda: self.conditions("PodScheduled", "DisruptionTarget"),
                    containerStatuses=lambda: statuses("public", "z"),
                    initContainerStatuses=lambda: statuses("i", "y"),
                )
            ),
        }

    def workload(self) -> dict[str, Any]:
        """Make a Deployment or StatefulSet."""
        counts = {"observedGeneration": self.number, "readyReplicas": self.number}
        return {
            "metadata": self.metadata("w"),
            "spec": self.some(replicas=self.number, template=lambda: {"metadata": self.metadata("x")}),
            "status": self.some(conditions=lambda: self.conditions("Available"), **counts),
        }

    def lease(self) -> dict[str, Any]:
        """Make a Lease."""
        spec = self.some(
            holderIdentity=self.text,
            leaseDurationSeconds=self.number,
            leaseTransitions=self.number,
            renewTime=self.time,
            acquireTime=self.time,
            preferredHolder=self.text,
        )
        return {"metadata": self.metadata("l"), **self.some(spec=lambda: spec)}

    def event(self) -> dict[str, Any]:
        """Make an Event."""
        more = self.some(message=self.text, lastTimestamp=self.time, eventTime=self.time)
        return {"metadata": self.metadata("e"), **more}

    def schedule(self) -> dict[str, Any]:
        """Make a CronJob that is a schedule."""
        job = self.job()
        own_labels = {
            labels.MANAGED_BY_LABEL: labels.MANAGED_BY,
            labels.DEFINITION_LABEL: "public",
            labels.SCHEDULE_LABEL: "aaaaaaaaaaaa",
            labels.SCHEDULE_ORIGIN_LABEL: self.one_of("http", "configuration"),
        }
        return {
            "metadata": self.metadata(CRONJOB, **own_labels),
            "spec": {
                "schedule": self.one_of("@every 1ns", "0 0 31 2 *", "TZ=x * * * * *"),
                "jobTemplate": {"metadata": job["metadata"], "spec": job["spec"]},
                **self.some(timeZone=self.text, suspend=lambda: True, startingDeadlineSeconds=self.number),
            },
            **self.some(status=lambda: self.some(lastScheduleTime=self.time)),
        }


@pytest.fixture(params=[0, *slow(*range(1, 10))])
def hostile(request: pytest.FixtureRequest) -> Hostile:
    """Provide the same objects each time."""
    return Hostile(int(request.param))


def test_runs__are_read_and_shown_whatever_is_in_them(hostile: Hostile) -> None:
    for _ in range(100):
        job, pods = hostile.job(), [hostile.pod(), hostile.pod()]
        run, attempts = read_run(job), [read_attempt(pod) for pod in pods]
        view = build_view(job, attempts)
        awaits_pod_since(view, job, attempts)
        possible_statuses(job, run)
        assert json.dumps(RunSchema().dump(abridge(view))).isascii()
        assert measure(view) > 0
        if run.end is not None:
            build_event_request(run, {}, "default", hostile.one_of("Binary", "Structured"))
        trim_job(job)
        identify_pod(pods, read_address("10.0.0.1") or pytest.fail("no address"))


def test_other_objects__are_read_whatever_is_in_them(hostile: Hostile) -> None:
    definition, now = Definition("public", image="busybox:1", visibility="Public"), datetime.now(UTC)
    for _ in range(100):
        assess("w", [read_workload(hostile.one_of("Deployment", "StatefulSet"), hostile.workload())])
        lease = hostile.lease()
        read_lease(lease)
        read_renew_time(lease)
        describe_leader_absence(lease, now)
        build_lease(lease, Intent("me", 1, 1, frozenset(), True), 15)
        events = [hostile.event(), hostile.event()]
        find_last_refusal(events)
        find_mount_failure(events)
        schedule = hostile.schedule()
        assert is_schedule(schedule)
        read_stored_schedule(schedule)
        json.dumps(ScheduleViewSchema().dump(abridge(build_schedule_view(schedule, definition, now))))
