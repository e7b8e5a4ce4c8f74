"""The Job controller: it carries out the decisions of `job_plan`.

See https://kubernetes.io/docs/concepts/workloads/controllers/job/.
"""

from datetime import UTC, datetime

from devcluster.controllers import job_plan
from devcluster.controllers.backoff import BackOff
from devcluster.controllers.cache import Cache
from devcluster.controllers.failures import Failures
from devcluster.controllers.job_plan import Plan
from devcluster.controllers.loop import Key, KeyQueue, Loop
from devcluster.controllers.metadata import controller_of, drop_finalizer, key_of, uid_of
from devcluster.controllers.pods import TRACKING_FINALIZER, is_tracked, make_pod
from devcluster.controllers.recorder import Recorder
from devcluster.errors import ApiError
from devcluster.kinds import JOB, POD
from devcluster.objects import Object

_OWN_NAME = "kubernetes.io/job-controller"  # the only `spec.managedBy` that this controller handles


class JobController:
    """Brings each Job's pods and status in line with its spec."""

    def __init__(self, cache: Cache, loop: Loop, recorder: Recorder, back_off: BackOff) -> None:
        self._cache = cache
        self._recorder = recorder
        self._back_off = back_off
        self._failures: dict[str, Failures] = {}  # by the Job's uid
        self._queue = KeyQueue(loop, self._reconcile)
        cache.subscribe(JOB, self._on_job)
        cache.subscribe(POD, self._on_pod)

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        job = new or old
        assert job is not None
        if new is not None:
            self._queue.add(key_of(job))
            return
        self._failures.pop(uid_of(job), None)
        for pod in self._cache.controlled(POD, job):
            self._release(pod)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        reference = controller_of(pod)
        if reference is not None and (reference["kind"], reference["apiVersion"]) != (JOB.kind, JOB.api_version):
            return
        job = self._cache.find(JOB, pod["metadata"]["namespace"], reference["name"]) if reference else None
        if job is not None and reference is not None and uid_of(job) == reference["uid"]:
            self._queue.add(key_of(job))
        elif new is not None and is_tracked(new):
            self._release(new)  # its Job is gone, so nothing will count it

    def _reconcile(self, key: Key) -> float | None:
        job = self._cache.find(JOB, *key)
        if job is None or job["spec"].get("managedBy", _OWN_NAME) != _OWN_NAME:
            return None
        if job["spec"].get("completionMode", "NonIndexed") != "NonIndexed":
            message = "Skipped Job sync because completion mode is unknown"
            self._recorder.warn(JOB, job, "UnknownCompletionMode", message)
            return None
        uid = uid_of(job)
        plan = job_plan.reconcile(
            job,
            self._cache.controlled(POD, job),
            self._failures.get(uid, Failures()),
            self._back_off,
            datetime.now(UTC),
        )
        self._carry_out(job, plan)
        self._failures[uid] = plan.failures
        return plan.requeue_after_seconds

    def _carry_out(self, job: Object, plan: Plan) -> None:
        for pod in plan.discard:
            self._release(pod)
            self._delete(job, pod)
        for pod in plan.abort:
            self._delete(job, pod)
        created, error = self._create(job, plan.create)
        plan.status["active"] = plan.status.get("active", 0) - plan.create + created
        if not plan.status["active"]:
            del plan.status["active"]
        self._cache.write_status(JOB, job, plan.status)
        for pod in plan.release:
            self._release(pod)
        for event in plan.events:
            record = self._recorder.warn if event.type == "Warning" else self._recorder.normal
            record(JOB, job, event.reason, event.message)
        if error:
            raise error

    def _create(self, job: Object, count: int) -> tuple[int, ApiError | None]:
        """Create pods until one is refused; return how many were created, and the refusal or None."""
        for created in range(count):
            pod = make_pod(JOB, job, job["spec"]["template"])
            pod["metadata"]["finalizers"] = [*(pod["metadata"].get("finalizers") or ()), TRACKING_FINALIZER]
            try:
                made = self._cache.create(POD, pod)
            except ApiError as error:
                self._recorder.warn(JOB, job, "FailedCreate", f"Error creating: {error.message}")
                return created, error
            self._recorder.normal(JOB, job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return count, None

    def _delete(self, job: Object, pod: Object) -> None:
        self._cache.delete(POD, pod, propagation="Background")
        self._recorder.normal(JOB, job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    def _release(self, pod: Object) -> None:
        """Remove the tracking finalizer from a pod."""
        if not is_tracked(pod):
            return

        try:
            self._cache.update(POD, pod, lambda current: drop_finalizer(current, TRACKING_FINALIZER))
        except ApiError as error:
            if error.status != 404:
                raise
