"""The decisions of the Job controller: single steps, and whole lives of Jobs, without a cluster."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devcluster.controllers.backoff import BackOff
from devcluster.controllers.failures import Failures
from devcluster.controllers.job_plan import Plan, is_finished, reconcile
from devcluster.controllers.pods import TRACKING_FINALIZER, is_active, is_tracked
from devcluster.objects import Object, to_time

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BACK_OFF = BackOff(base_seconds=10, cap_seconds=600)


def make_job(status: Object | None = None, **spec: Any) -> Object:
    template = {"spec": {"restartPolicy": spec.pop("restartPolicy", "Never"), "containers": []}}
    return {
        "metadata": {"name": "job", "namespace": "ns", "uid": "job-uid"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec},
        "status": status or {},
    }


def make_pod(uid: str, phase: str = "Running", ended_at: datetime = NOW, **metadata: Any) -> Object:
    status: Object = {"phase": phase}
    if phase in ("Succeeded", "Failed"):
        status["containerStatuses"] = [{"name": "c", "state": {"terminated": {"finishedAt": to_time(ended_at)}}}]
    else:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    own = {"namespace": "ns", "finalizers": [TRACKING_FINALIZER], "creationTimestamp": to_time(NOW)}
    metadata = {**own, **metadata}
    return {"metadata": {"name": uid, "uid": uid, **metadata}, "spec": {"nodeName": "n"}, "status": status}


def decide(job: Object, *pods: Object, failures: Failures | None = None, now: datetime = NOW) -> Plan:
    return reconcile(job, pods, failures or Failures(), BACK_OFF, now)


def condition_types(plan: Plan) -> list[str]:
    return [found["type"] for found in plan.status.get("conditions", ())]


class TestSteps:
    """Single steps."""

    def test_suspended__only_sets_the_condition(self) -> None:
        """No pod and no start time."""
        plan = decide(make_job(suspend=True))
        assert (plan.create, plan.status.get("startTime"), condition_types(plan)) == (0, None, ["Suspended"])
        assert [event.reason for event in plan.events] == ["Suspended"]

    def test_unchanged_state__changes_nothing(self) -> None:
        """A repeated event has no effect once the first one's changes are visible."""
        first = decide(make_job(suspend=True))
        again = decide(make_job(first.status, suspend=True))
        assert (again.status, again.events, again.create) == (first.status, [], 0)

    def test_succeeded_pod__is_recorded_then_released_then_counted(self) -> None:
        """If the controller stops between two steps, the pod is neither lost nor counted twice."""
        pod = make_pod("a", "Succeeded")
        noted = decide(make_job(), pod)
        assert noted.status["uncountedTerminatedPods"] == {"succeeded": ["a"]}
        assert (noted.status.get("succeeded"), noted.release) == (None, [pod])
        stopped = decide(make_job(noted.status), pod)
        assert stopped.status == noted.status
        assert stopped.release == [pod]
        released = make_pod("a", "Succeeded", finalizers=[])
        counted = decide(make_job(noted.status), released)
        assert (counted.status["succeeded"], counted.status["uncountedTerminatedPods"]) == (1, {})
        assert condition_types(counted) == ["SuccessCriteriaMet", "Complete"]
        assert counted.status["completionTime"] == to_time(NOW)

    def test_failed_pod__is_replaced_after_the_backoff(self) -> None:
        """10 s after the first failure, 20 s after the second in a row."""
        failed = make_pod("a", "Failed")
        plan = decide(make_job(), failed)
        assert (plan.create, plan.requeue_after_seconds, plan.failures) == (0, 10, Failures(1, NOW))
        counted = make_job({"failed": 1, "startTime": to_time(NOW)})
        later = decide(counted, failures=Failures(1, NOW), now=NOW + timedelta(seconds=10))
        assert (later.create, later.requeue_after_seconds) == (1, None)
        second = make_pod("b", "Failed", NOW + timedelta(seconds=15))
        plan = decide(counted, second, failures=Failures(1, NOW), now=NOW + timedelta(seconds=20))
        assert (plan.create, plan.requeue_after_seconds) == (0, 15)

    def test_backoff__has_a_cap(self) -> None:
        """Ten minutes, as in Kubernetes."""
        assert [BACK_OFF.period_seconds(count) for count in (1, 2, 6, 7, 8, 1000)] == [10, 20, 320, 600, 600, 600]

    def test_failing_job__deletes_its_running_pods_and_waits_for_them(self) -> None:
        """FailureTarget first; Failed once no pod is terminating."""
        running, failed = make_pod("r"), make_pod("f", "Failed")
        plan = decide(make_job(parallelism=2, completions=2, backoffLimit=0), running, failed)
        assert plan.abort == [running]
        assert plan.status["uncountedTerminatedPods"]["failed"] == ["r", "f"]
        assert (condition_types(plan), plan.status["terminating"]) == (["FailureTarget"], 1)
        leaving = make_pod("r", deletionTimestamp=to_time(NOW), finalizers=[])
        ended = make_pod("f", "Failed", finalizers=[])
        waiting = decide(make_job(plan.status, parallelism=2, completions=2, backoffLimit=0), leaving, ended)
        assert (condition_types(waiting), waiting.status["failed"]) == (["FailureTarget"], 2)
        done = decide(make_job(waiting.status, parallelism=2, completions=2, backoffLimit=0), ended)
        assert condition_types(done) == ["FailureTarget", "Failed"]
        assert [event.reason for event in done.events] == ["BackoffLimitExceeded"]

    def test_failed_pod__that_the_policy_ignores_is_released_and_replaced_but_not_counted(self) -> None:
        """An evicted pod uses up no retry."""
        pod = make_pod("a", "Failed")
        pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
        conditions = [{"type": "DisruptionTarget", "status": "True"}]
        policy = {"rules": [{"action": "Ignore", "onPodConditions": conditions}]}

        plan = decide(make_job(backoffLimit=0, podFailurePolicy=policy, podReplacementPolicy="Failed"), pod)

        assert (plan.release, plan.status["uncountedTerminatedPods"]) == ([pod], {})
        assert (condition_types(plan), plan.requeue_after_seconds) == ([], 10)
        later = decide(
            make_job(plan.status, backoffLimit=0, podFailurePolicy=policy),
            failures=plan.failures,
            now=NOW + timedelta(seconds=10),
        )
        assert later.create == 1

    def test_failed_pod__that_the_policy_fails_ends_the_job(self) -> None:
        """Whatever its backoffLimit."""
        pod = make_pod("a", "Failed")
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 42
        policy = {
            "rules": [
                {"action": "Ignore", "onExitCodes": {"containerName": "other", "operator": "In", "values": [42]}},
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
            ]
        }

        plan = decide(make_job(podFailurePolicy=policy), pod)

        (condition,) = plan.status["conditions"]
        assert (condition["type"], condition["reason"]) == ("FailureTarget", "PodFailurePolicy")
        expected = "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 1"
        assert condition["message"] == expected
        assert plan.status["uncountedTerminatedPods"] == {"failed": ["a"]}

    def test_restarts__count_against_the_limit_with_on_failure(self) -> None:
        """With OnFailure, a container's restarts are the Job's retries; with Never, they are not."""
        pod = make_pod("a")
        pod["status"]["containerStatuses"] = [{"name": "c", "restartCount": 2}]
        assert decide(make_job(backoffLimit=2, restartPolicy="OnFailure"), pod).abort == [pod]
        assert decide(make_job(backoffLimit=3, restartPolicy="OnFailure"), pod).abort == []
        assert decide(make_job(backoffLimit=2), pod).abort == []

    def test_deadline__counts_from_the_start_and_not_while_suspended(self) -> None:
        """It limits the active time."""
        started = {"startTime": to_time(NOW)}
        job = make_job(started, activeDeadlineSeconds=60)
        assert decide(job, make_pod("a"), now=NOW + timedelta(seconds=20)).requeue_after_seconds == 40
        late = decide(job, make_pod("a"), now=NOW + timedelta(seconds=60))
        assert late.status["conditions"][0]["reason"] == "DeadlineExceeded"
        suspended = make_job(started, activeDeadlineSeconds=60, suspend=True)
        assert condition_types(decide(suspended, now=NOW + timedelta(hours=1))) == ["Suspended"]

    def test_lower_parallelism__discards_pods_that_are_not_ready_first(self) -> None:
        """Scaling down keeps ready pods."""
        pending = make_pod("p", "Pending")
        plan = decide(make_job(parallelism=1, completions=3), make_pod("r"), pending)
        assert (plan.discard, plan.status["active"]) == ([pending], 1)

    def test_deleted_job__creates_no_pods_and_releases_its_own(self) -> None:
        """The finalizers of its pods are removed, so that the pods can be deleted."""
        job = make_job()
        job["metadata"]["deletionTimestamp"] = to_time(NOW)
        pod = make_pod("a")
        plan = decide(job, pod)
        assert (plan.create, plan.release) == (0, [pod])

    def test_replacement_policy_failed__waits_for_a_terminating_pod(self) -> None:
        """podReplacementPolicy: Failed never runs two pods for one completion."""
        leaving = make_pod("a", deletionTimestamp=to_time(NOW), deletionGracePeriodSeconds=30)
        assert decide(make_job(podReplacementPolicy="Failed"), leaving).create == 0
        assert decide(make_job(), leaving, now=NOW + timedelta(seconds=10)).create == 1

    def test_no_completions__one_success_completes_the_job(self) -> None:
        """A work queue: no more pods are created, and the Job is complete when all have ended."""
        job = make_job(parallelism=2)
        del job["spec"]["completions"]
        assert decide(job).create == 2
        plan = decide(job, make_pod("a", "Succeeded"), make_pod("b"))
        assert (plan.create, condition_types(plan)) == (0, [])
        assert condition_types(decide(job, make_pod("a", "Succeeded"), make_pod("b", "Succeeded"))) == [
            "SuccessCriteriaMet"
        ]


class _Cluster:
    """Carries out plans in memory; with `crash`, stops before the pods are released."""

    def __init__(self, job: Object) -> None:
        self.job = job
        self.pods: list[Object] = []
        self.failures = Failures()
        self.now = NOW
        self.created = 0
        self.outcomes: dict[str, str] = {}

    def step(self, crash: bool = False) -> None:
        plan = reconcile(self.job, self.pods, self.failures, BACK_OFF, self.now)
        leaving = [pod["metadata"]["uid"] for pod in plan.discard + plan.abort]
        for pod in plan.discard:
            pod["metadata"]["finalizers"] = []
        for pod in self.pods:
            if pod["metadata"]["uid"] in leaving:
                pod["metadata"]["deletionTimestamp"] = to_time(self.now)
        for _ in range(plan.create):
            self.created += 1
            self.pods.append(make_pod(f"pod-{self.created}"))
        self.job = {**self.job, "status": plan.status}
        self.failures = plan.failures
        if not crash:
            for pod in plan.release:
                pod["metadata"]["finalizers"] = []
        self.pods = [pod for pod in self.pods if is_tracked(pod) or "deletionTimestamp" not in pod["metadata"]]

    def end_a_pod(self, phase: str) -> None:
        running = [pod for pod in self.pods if is_active(pod)]
        if running:
            ended = make_pod(running[0]["metadata"]["uid"], phase, self.now)
            self.pods[self.pods.index(running[0])] = ended
            self.outcomes[ended["metadata"]["uid"]] = phase


@given(
    completions=st.integers(0, 4),
    parallelism=st.integers(1, 3),
    limit=st.integers(0, 3),
    moves=st.lists(st.sampled_from(["succeed", "fail", "look", "crash"]), max_size=40),
)
def test_reconcile__counts_each_pod_once_and_never_exceeds_parallelism(
    completions: int, parallelism: int, limit: int, moves: list[str]
) -> None:
    """In any life of a Job: at most `parallelism` pods, exact counters, and the correct final condition."""
    cluster = _Cluster(make_job(completions=completions, parallelism=parallelism, backoffLimit=limit))
    for move in [*moves, *["succeed"] * 20]:
        cluster.now += timedelta(minutes=11)  # longer than any backoff
        if move in ("succeed", "fail"):
            cluster.end_a_pod("Succeeded" if move == "succeed" else "Failed")
        cluster.step(crash=move == "crash")
        active = [pod for pod in cluster.pods if is_active(pod)]
        assert len(active) <= parallelism
        assert len(active) + list(cluster.outcomes.values()).count("Succeeded") <= completions
    for _ in range(5):
        cluster.step()
    status = cluster.job["status"]
    ends = list(cluster.outcomes.values())
    assert is_finished(cluster.job)
    assert status["uncountedTerminatedPods"] == {}
    assert status.get("succeeded", 0) == ends.count("Succeeded")
    if ends.count("Failed") > limit:
        assert status["conditions"][-1]["type"] == "Failed"
    else:
        assert status["conditions"][-1]["type"] == "Complete"
        assert (status.get("succeeded", 0), status.get("failed", 0)) == (completions, ends.count("Failed"))
