"""Jobs from their creation to their clean-up, as a client of the cluster sees them."""

import datetime
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

    def test_a_suspended_job_has_the_condition_but_no_pod_and_no_start_time(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """What is queued takes nothing: neither a pod nor the clock of activeDeadlineSeconds."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("waits", "true", suspend=True))
        job = eventually(lambda: (job := apis.job("waits")).status.conditions and job)
        suspended = conditions_of(job)["Suspended"]
        assert (suspended.status, suspended.reason, suspended.message) == ("True", "JobSuspended", "Job suspended")
        assert job.status.start_time is None
        assert apis.pods() == []
        eventually(lambda: apis.reasons("Job", "waits") == ["Suspended"])

    def test_unsuspending_runs_it_and_its_log_holds_the_output(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """The whole way of a queued run: resumed, started, complete, and its output can be read."""
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

    def test_its_pod_carries_the_marks_of_its_job(self, apis: Apis, make_job: MakeJob, eventually: Eventually) -> None:
        """Pods are found by their labels, and go with the Job that owns them."""
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

    def test_suspending_again_kills_the_pod_and_doesnt_count_it(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """A slot is free again after a re-suspend, and no retry was used up."""
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
    def test_a_failing_job_is_retried_backoff_limit_times(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually, limit: int
    ) -> None:
        """`backoffLimit` counts retries: there is one pod more, and then the Job has failed for good."""
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

    def test_with_restart_policy_on_failure_the_container_restarts_in_its_pod(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """OnFailure makes no new pods: the restarts count against backoffLimit, then the pod is taken away."""
        manifest = make_job("restarts", "sh", "-c", "exit 1", pod={"restartPolicy": "OnFailure"}, backoffLimit=3)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        job = eventually(lambda: is_true(job := apis.job("restarts"), "Failed") and job)
        assert conditions_of(job)["Failed"].reason == "BackoffLimitExceeded"
        assert job.status.failed == 1
        eventually(
            lambda: apis.reasons("Job", "restarts") == ["SuccessfulCreate", "SuccessfulDelete", "BackoffLimitExceeded"]
        )

    def test_past_its_deadline_a_job_fails_and_its_pod_is_killed(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """ActiveDeadlineSeconds ends what runs; the Job is only Failed once nothing of it runs any more."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("late", "sleep", "60", activeDeadlineSeconds=1))
        job = eventually(lambda: is_true(job := apis.job("late"), "Failed") and job)
        failed = conditions_of(job)["Failed"]
        assert (failed.reason, failed.message) == ("DeadlineExceeded", "Job was active longer than specified deadline")
        assert apis.pods_of("late") == []
        assert job.status.failed == 1

    def test_a_pod_deleted_by_hand_counts_as_failed_and_is_replaced(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """Who deletes a run's pod uses up a retry, as in Kubernetes."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("robbed", "sleep", "60", backoffLimit=3))
        [first] = eventually(lambda: apis.pods_of("robbed"))
        apis.core.delete_namespaced_pod(first.metadata.name, apis.namespace)
        eventually(lambda: [pod.metadata.name for pod in apis.pods_of("robbed")] not in ([], [first.metadata.name]))
        job = eventually(lambda: (job := apis.job("robbed")).status.failed and job)
        assert (job.status.active, job.status.failed) == (1, 1)

    def test_a_pod_whose_image_cant_be_had_keeps_its_job_active(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """ImagePullBackOff is no failure: the Job waits, and still holds what it holds."""
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

    def test_never_more_than_parallelism_run_and_completions_are_reached(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """Of 5 completions 2 run at a time."""
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

    def test_a_lower_parallelism_takes_pods_away_without_counting_them(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """Scaling a running Job down costs no retries."""
        manifest = make_job("scaled", "sleep", "60", completions=5, parallelism=3, backoffLimit=0)
        apis.batch.create_namespaced_job(apis.namespace, manifest)
        eventually(lambda: apis.job("scaled").status.ready == 3)
        apis.batch.patch_namespaced_job("scaled", apis.namespace, {"spec": {"parallelism": 1}})
        eventually(lambda: len(apis.pods_of("scaled")) == 1)
        job = eventually(lambda: (job := apis.job("scaled")).status.terminating == 0 and job)
        assert (job.status.active, job.status.failed) == (1, None)


class TestEnd:
    """What becomes of a Job."""

    def test_after_its_ttl_a_finished_job_is_gone_with_its_pods(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """TtlSecondsAfterFinished counts from the terminal condition."""
        apis.batch.create_namespaced_job(apis.namespace, make_job("brief", "true", ttlSecondsAfterFinished=1))
        finished = eventually(lambda: is_true(job := apis.job("brief"), "Complete") and job)
        eventually(lambda: not apis.batch.list_namespaced_job(apis.namespace).items)
        eventually(lambda: not apis.pods())
        assert datetime.datetime.now(datetime.UTC) >= finished.status.completion_time + datetime.timedelta(seconds=1)

    def test_a_job_is_only_complete_when_none_of_its_pods_terminates_any_more(
        self, apis: Apis, make_job: MakeJob, eventually: Eventually
    ) -> None:
        """A terminal condition promises that nothing of the run is left running (Kubernetes 1.31)."""
        script = "trap 'sleep 0.5; exit 1' TERM; sleep 60 & wait"
        apis.batch.create_namespaced_job(apis.namespace, make_job("slow", "sh", "-c", script, activeDeadlineSeconds=1))
        target = eventually(lambda: is_true(job := apis.job("slow"), "FailureTarget") and job)
        assert not is_true(target, "Failed")
        assert target.status.terminating == 1
        eventually(lambda: is_true(apis.job("slow"), "Failed"))
        assert apis.pods_of("slow") == []
