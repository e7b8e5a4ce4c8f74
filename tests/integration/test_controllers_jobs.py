"""Jobs from creation to clean-up, as a client of the cluster sees them."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Apis, Eventually, MakeJob, Model

pytestmark = OF_THE_EMBEDDED_CLUSTER


def conditions_of(job: Model) -> dict[str, Model]:
    return {found.type: found for found in job.status.conditions or []}


def is_true(job: Model, type_: str) -> bool:
    found = conditions_of(job).get(type_)
    return found is not None and found.status == "True"


class TestSuspend:
    """`spec.suspend`."""

    def test_suspended_job__has_the_condition_but_no_pod_or_start_time(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """The clock of activeDeadlineSeconds has not started."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("waits", "true", suspend=True))
        job = eventually(lambda: (job := apis.job("waits")).status.conditions and job)
        suspended = conditions_of(job)["Suspended"]
        assert (suspended.status, suspended.reason, suspended.message) == ("True", "JobSuspended", "Job suspended")
        assert job.status.start_time is None
        assert apis.pods() == []
        eventually(lambda: apis.reasons("Job", "waits") == ["Suspended"])

    def test_unsuspended_job__runs_to_completion(self, apis: Apis, make_job: MakeJob, eventually: Eventually) -> None:
        """It is resumed, started and complete, and its log contains the output."""
        manifest = make_job("fib", "42", image="axaguildev/fibonacci-batch:latest", suspend=True)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        eventually(lambda: is_true(apis.job("fib"), "Suspended"))
        apis.batch.patch_namespaced_job("fib", apis.namespace, {"spec": {"suspend": False}})
        job = eventually(lambda: is_true(job := apis.job("fib"), "Complete") and job)
        assert job.status.succeeded == 1
        assert job.status.active is None
        assert job.status.completion_time >= job.status.start_time
        assert [found.type for found in job.status.conditions] == ["Suspended", "SuccessCriteriaMet", "Complete"]
        complete = conditions_of(job)["Complete"]
        assert (complete.reason, complete.message) == (
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        )
        [pod] = apis.pods_of("fib")
        assert apis.log(pod.metadata.name) == "267914296\n"
        eventually(lambda: apis.reasons("Job", "fib")[-3:] == ["SuccessfulCreate", "Resumed", "Completed"])

    def test_pod__has_the_labels_and_owner_of_its_job(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """So clients can find it, and it is deleted with the Job."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("marked", "sleep", "60"))
        [pod] = eventually(lambda: apis.pods_of("marked"))
        job = apis.job("marked")
        prefix, _, suffix = pod.metadata.name.rpartition("-")
        assert (prefix, len(suffix)) == ("marked", 5)
        for key, value in {"job-name": "marked", "controller-uid": job.metadata.uid}.items():
            assert pod.metadata.labels[key] == pod.metadata.labels[f"batch.kubernetes.io/{key}"] == value
        [owner] = pod.metadata.owner_references
        assert (owner.kind, owner.uid, owner.controller, owner.block_owner_deletion) == (
            "Job", job.metadata.uid, True, True)  # fmt: skip
        assert pod.metadata.finalizers == ["batch.kubernetes.io/job-tracking"]

    def test_suspend_again__kills_the_pod_without_counting_it(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """It uses up no retry."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("again", "sleep", "60", backoffLimit=0))
        eventually(lambda: apis.job("again").status.ready == 1)
        apis.batch.patch_namespaced_job("again", apis.namespace, {"spec": {"suspend": True}})
        eventually(lambda: not apis.pods_of("again"))
        job = eventually(lambda: (job := apis.job("again")).status.terminating == 0 and job)
        assert (job.status.active, job.status.failed, job.status.start_time) == (None, None, None)
        assert is_true(job, "Suspended")
        apis.batch.patch_namespaced_job("again", apis.namespace, {"spec": {"suspend": False}})
        job = eventually(lambda: (job := apis.job("again")).status.active == 1 and job)
        assert conditions_of(job)["Suspended"].reason == "JobResumed"


class TestFailure:
    """Retries and their limits."""

    @pytest.mark.parametrize("limit", [0, 2])
    def test_failing_job__is_retried_backoff_limit_times(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually, limit: int
    ) -> None:
        """So there is one pod more than `backoffLimit`; then the Job has failed."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("fails", "sh", "-c", "exit 3", backoffLimit=limit))
        job = eventually(lambda: is_true(job := apis.job("fails"), "Failed") and job)
        assert job.status.failed == len(apis.pods_of("fails")) == limit + 1
        assert [found.type for found in job.status.conditions] == ["FailureTarget", "Failed"]
        failed = conditions_of(job)["Failed"]
        assert failed.reason == "BackoffLimitExceeded"
        assert failed.message == "Job has reached the specified backoff limit"
        assert job.status.completion_time is None
        assert {pod.status.container_statuses[0].state.terminated.exit_code for pod in apis.pods_of("fails")} == {3}
        eventually(
            lambda: apis.reasons("Job", "fails") == ["SuccessfulCreate"] * (limit + 1) + ["BackoffLimitExceeded"]
        )

    def test_restart_policy_on_failure__restarts_the_container_in_its_pod(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """The restarts count against backoffLimit; then the pod is deleted."""
        manifest = make_job("restarts", "sh", "-c", "exit 1", pod={"restartPolicy": "OnFailure"}, backoffLimit=3)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        job = eventually(lambda: is_true(job := apis.job("restarts"), "Failed") and job)
        assert conditions_of(job)["Failed"].reason == "BackoffLimitExceeded"
        assert job.status.failed == 1
        eventually(
            lambda: apis.reasons("Job", "restarts") == ["SuccessfulCreate", "SuccessfulDelete", "BackoffLimitExceeded"]
        )

    def test_deadline__kills_the_pod_and_fails_the_job(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """The Job is Failed only when no pod runs any more."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("late", "sleep", "60", activeDeadlineSeconds=1))
        job = eventually(lambda: is_true(job := apis.job("late"), "Failed") and job)
        failed = conditions_of(job)["Failed"]
        assert (failed.reason, failed.message) == ("DeadlineExceeded", "Job was active longer than specified deadline")
        assert apis.pods_of("late") == []
        assert job.status.failed == 1

    def test_deleted_pod__counts_as_failed_and_is_replaced(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """As in Kubernetes, it uses up a retry."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("robbed", "sleep", "60", backoffLimit=3))
        [first] = eventually(lambda: apis.pods_of("robbed"))
        apis.core.delete_namespaced_pod(first.metadata.name, apis.namespace)
        eventually(lambda: [pod.metadata.name for pod in apis.pods_of("robbed")] not in ([], [first.metadata.name]))
        job = eventually(lambda: (job := apis.job("robbed")).status.failed and job)
        assert (job.status.active, job.status.failed) == (1, 1)

    def test_missing_image__keeps_the_job_active(self, apis: Apis, make_job: MakeJob, eventually: Eventually) -> None:
        """ImagePullBackOff is not a failure."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("missing", image="example.com/none:1"))

        def waiting() -> Any:
            statuses = [pod.status.container_statuses for pod in apis.pods_of("missing")]
            return statuses and statuses[0] and statuses[0][0].state.waiting

        found = eventually(lambda: (state := waiting()) and state.reason == "ImagePullBackOff" and state)
        assert found.message.startswith('Back-off pulling image "example.com/none:1": ErrImagePull: ')
        [pod] = apis.pods_of("missing")
        assert pod.status.phase == "Pending"
        assert apis.job("missing").status.active == 1
        expected = ["Scheduled", "Pulling", "Failed", "Failed", "BackOff", "Failed"]
        eventually(lambda: apis.reasons("Pod", pod.metadata.name) == expected)


class TestParallelism:
    """Several pods of one Job."""

    def test_parallelism__is_never_exceeded_until_completions_are_reached(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """2 of 5 completions at a time."""
        manifest = make_job("many", "sh", "-c", "sleep 0.1", completions=5, parallelism=2)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        most = 0

        def is_complete() -> bool:
            nonlocal most
            most = max(most, sum(1 for pod in apis.pods_of("many") if pod.status.phase in ("Pending", "Running")))
            return is_true(apis.job("many"), "Complete")

        eventually(is_complete)
        assert most <= 2
        assert apis.job("many").status.succeeded == len(apis.pods_of("many")) == 5

    def test_lower_parallelism__deletes_pods_without_counting_them(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """Scaling down uses up no retries."""
        manifest = make_job("scaled", "sleep", "60", completions=5, parallelism=3, backoffLimit=0)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        eventually(lambda: apis.job("scaled").status.ready == 3)
        apis.batch.patch_namespaced_job("scaled", apis.namespace, {"spec": {"parallelism": 1}})
        eventually(lambda: len(apis.pods_of("scaled")) == 1)
        job = eventually(lambda: (job := apis.job("scaled")).status.terminating == 0 and job)
        assert (job.status.active, job.status.failed) == (1, None)


class TestEnd:
    """The end of a Job."""

    def test_ttl__deletes_a_finished_job_and_its_pods(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """TtlSecondsAfterFinished counts from the terminal condition."""
        manifest = make_job("brief", "true", ttlSecondsAfterFinished=1)
        manifest["metadata"]["finalizers"] = ["example.com/hold"]
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        deleted = eventually(lambda: (job := apis.job("brief")).metadata.deletion_timestamp and job)
        assert deleted.metadata.deletion_timestamp >= deleted.status.completion_time + datetime.timedelta(seconds=1)
        apis.batch.patch_namespaced_job("brief", apis.namespace, {"metadata": {"finalizers": None}})
        eventually(lambda: not apis.batch.list_namespaced_job(apis.namespace).items)
        eventually(lambda: not apis.pods())

    def test_complete__only_when_no_pod_is_terminating(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually, tmp_path: Path
    ) -> None:
        """As since Kubernetes 1.31."""
        ready, go = tmp_path / "ready", tmp_path / "go"
        script = f"trap 'until test -e {go}; do sleep 0.05; done; exit 1' TERM; touch {ready}; sleep 60 & wait"
        apis.batch.create_namespaced_job(apis.namespace, make_job("slow", "sh", "-c", script))
        eventually(ready.exists)
        apis.batch.patch_namespaced_job("slow", apis.namespace, {"spec": {"activeDeadlineSeconds": 1}})
        target = eventually(lambda: is_true(job := apis.job("slow"), "FailureTarget") and job)
        assert not is_true(target, "Failed")
        assert target.status.terminating == 1
        go.touch()
        eventually(lambda: is_true(apis.job("slow"), "Failed"))
        assert apis.pods_of("slow") == []
