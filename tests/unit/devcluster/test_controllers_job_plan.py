"""The Job controller's decisions, step by step and over whole lives of Jobs, without a cluster."""

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
    metadata = {"finalizers": [TRACKING_FINALIZER], "creationTimestamp": to_time(NOW), **metadata}
    return {"metadata": {"name": uid, "uid": uid, **metadata}, "spec": {"nodeName": "n"}, "status": status}


def decide(job: Object, *pods: Object, failures: Failures | None = None, now: datetime = NOW) -> Plan:
    return reconcile(job, pods, failures or Failures(), BACK_OFF, now)


def condition_types(plan: Plan) -> list[str]:
    return [found["type"] for found in plan.status.get("conditions", ())]


class TestSteps:
    """Single decisions."""

    def test_a_suspended_job_gets_nothing_but_its_condition(self) -> None:
        """No pod, no start time."""
        plan = decide(make_job(suspend=True))
        assert (plan.create, plan.status.get("startTime"), condition_types(plan)) == (0, None, ["Suspended"])
        assert [event.reason for event in plan.events] == ["Suspended"]

    def test_deciding_again_on_the_same_state_changes_nothing(self) -> None:
        """A repeated notification does no harm once its effects are known."""
        first = decide(make_job(suspend=True))
        again = decide(make_job(first.status, suspend=True))
        assert (again.status, again.events, again.create) == (first.status, [], 0)

    def test_a_succeeded_pod_is_noted_before_it_is_released_and_counted_after(self) -> None:
        """Should the controller stop between two steps, the pod is neither lost nor counted twice."""
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

    def test_a_failed_pod_is_replaced_only_after_the_back_off(self) -> None:
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

    def test_the_back_off_has_a_cap(self) -> None:
        """Ten minutes, as in Kubernetes."""
        assert [BACK_OFF.period_seconds(count) for count in (1, 2, 6, 7, 8, 1000)] == [10, 20, 320, 600, 600, 600]

    def test_a_failing_job_takes_its_running_pods_along_and_waits_for_them(self) -> None:
        """FailureTarget first; Failed once nothing terminates any more."""
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

    def test_restarts_count_against_the_limit_with_on_failure_alone(self) -> None:
        """A container's restarts are a Job's retries, unless its pods are never restarted."""
        pod = make_pod("a")
        pod["status"]["containerStatuses"] = [{"name": "c", "restartCount": 2}]
        assert decide(make_job(backoffLimit=2, restartPolicy="OnFailure"), pod).abort == [pod]
        assert decide(make_job(backoffLimit=3, restartPolicy="OnFailure"), pod).abort == []
        assert decide(make_job(backoffLimit=2), pod).abort == []

    def test_the_deadline_runs_from_the_start_and_not_while_suspended(self) -> None:
        """ActiveDeadlineSeconds is about active time."""
        started = {"startTime": to_time(NOW)}
        job = make_job(started, activeDeadlineSeconds=60)
        assert decide(job, make_pod("a"), now=NOW + timedelta(seconds=20)).requeue_after_seconds == 40
        late = decide(job, make_pod("a"), now=NOW + timedelta(seconds=60))
        assert late.status["conditions"][0]["reason"] == "DeadlineExceeded"
        suspended = make_job(started, activeDeadlineSeconds=60, suspend=True)
        assert condition_types(decide(suspended, now=NOW + timedelta(hours=1))) == ["Suspended"]

    def test_pods_that_have_come_less_far_are_discarded_first(self) -> None:
        """Scaling down keeps what is ready."""
        pending = make_pod("p", "Pending")
        plan = decide(make_job(parallelism=1, completions=3), make_pod("r"), pending)
        assert (plan.discard, plan.status["active"]) == ([pending], 1)

    def test_a_job_that_is_being_deleted_gets_no_pods_and_holds_none(self) -> None:
        """Its pods' finalizers go, so that the pods can."""
        job = make_job()
        job["metadata"]["deletionTimestamp"] = to_time(NOW)
        pod = make_pod("a")
        plan = decide(job, pod)
        assert (plan.create, plan.release) == (0, [pod])

    def test_with_replacement_policy_failed_a_terminating_pod_is_waited_for(self) -> None:
        """podReplacementPolicy: Failed never runs two pods for one completion."""
        leaving = make_pod("a", deletionTimestamp=to_time(NOW), deletionGracePeriodSeconds=30)
        assert decide(make_job(podReplacementPolicy="Failed"), leaving).create == 0
        assert decide(make_job(), leaving, now=NOW + timedelta(seconds=10)).create == 1

    def test_without_completions_one_success_ends_the_job(self) -> None:
        """A work queue: nothing new is started, and the Job is complete when all have ended."""
        job = make_job(parallelism=2)
        del job["spec"]["completions"]
        assert decide(job).create == 2
        plan = decide(job, make_pod("a", "Succeeded"), make_pod("b"))
        assert (plan.create, condition_types(plan)) == (0, [])
        assert condition_types(decide(job, make_pod("a", "Succeeded"), make_pod("b", "Succeeded"))) == [
            "SuccessCriteriaMet"
        ]


class _Cluster:
    """Carries plans out in memory; `crash` stops in the middle of one, before the pods are released."""

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
def test_whatever_happens_each_pod_counts_once_and_never_too_many_run(
    completions: int, parallelism: int, limit: int, moves: list[str]
) -> None:
    """Over any life of a Job: at most `parallelism` pods, exact counters, and the right end."""
    cluster = _Cluster(make_job(completions=completions, parallelism=parallelism, backoffLimit=limit))
    for move in [*moves, *["succeed"] * 20]:
        cluster.now += timedelta(minutes=11)  # past any back-off
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
