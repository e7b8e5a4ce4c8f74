"""The CronJob controller: it carries out the decisions of `cron_plan`.

See https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""

from datetime import UTC, datetime, timedelta

from devcluster.controllers import cron_plan
from devcluster.controllers.cache import Cache
from devcluster.controllers.loop import Key, KeyQueue, Loop
from devcluster.controllers.metadata import controller_of, key_of, uid_of
from devcluster.controllers.recorder import Recorder
from devcluster.errors import ApiError
from devcluster.kinds import CRON_JOB, JOB
from devcluster.objects import Object


class CronJobController:
    """Creates a Job of each CronJob at each of its ticks. Its clock can be moved, so that tests need not wait."""

    def __init__(self, cache: Cache, loop: Loop, recorder: Recorder) -> None:
        self._cache = cache
        self._loop = loop
        self._recorder = recorder
        self._moved = timedelta()
        self._queue = KeyQueue(loop, self._reconcile)
        cache.subscribe(CRON_JOB, self._on_cron_job)
        cache.subscribe(JOB, self._on_job)

    def move_clock(self, by: timedelta) -> None:
        """Let this controller's clock differ by so much more from that of the machine; from any thread."""
        self._loop.post(self._move_clock, by)

    def _move_clock(self, by: timedelta) -> None:
        self._moved += by
        for cron_job in self._cache.all(CRON_JOB):
            self._queue.add(key_of(cron_job))

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._moved

    def _on_cron_job(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        if old is not None and _times(old) != _times(new):
            # As in Kubernetes, the new schedule does not make up for ticks before now, unless something else changes.
            seconds = cron_plan.seconds_until_next(new, new.get("status") or {}, self._now().timestamp())
            if seconds is not None:
                self._loop.after(seconds, self._queue.add, key_of(new))
            return
        self._queue.add(key_of(new))

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        for job in (old, new):
            reference = None if job is None else controller_of(job)
            if job is None or reference is None or reference["kind"] != CRON_JOB.kind:
                continue
            cron_job = self._cache.find(CRON_JOB, job["metadata"]["namespace"], reference["name"])
            if cron_job is not None and uid_of(cron_job) == reference["uid"]:
                self._queue.add(key_of(cron_job))

    def _reconcile(self, key: Key) -> float | None:
        cron_job = self._cache.find(CRON_JOB, *key)
        if cron_job is None:
            return None
        plan = cron_plan.reconcile(cron_job, self._cache.controlled(JOB, cron_job), self._now())
        for event in plan.events:
            record = self._recorder.warn if event.type == "Warning" else self._recorder.normal
            record(CRON_JOB, cron_job, event.reason, event.message)
        for job in plan.delete:
            self._cache.delete(JOB, job, propagation="Background")
            self._recorder.normal(CRON_JOB, cron_job, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}")
        status = plan.status
        if plan.tick is not None:
            started = self._create(cron_job, plan.tick)
            if started is not None:
                status = cron_plan.record_start(status, started, plan.tick)
        self._cache.write_status(CRON_JOB, cron_job, status)
        return plan.requeue_after_seconds

    def _create(self, cron_job: Object, tick: int) -> Object | None:
        """Create the Job of a tick; return it, also if it exists, or `None` if another object has its name."""
        job = cron_plan.make_job(cron_job, tick)
        try:
            created = self._cache.create(JOB, job)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self._recorder.warn(CRON_JOB, cron_job, "FailedCreate", f"Error creating job: {error.message}")
                raise
            found = self._cache.find(JOB, job["metadata"]["namespace"], job["metadata"]["name"])
            reference = None if found is None else controller_of(found)
            return found if reference is not None and reference["uid"] == uid_of(cron_job) else None
        name = created["metadata"]["name"]
        self._recorder.normal(CRON_JOB, cron_job, "SuccessfulCreate", f"Created job {name}")
        return created


def _times(cron_job: Object) -> tuple[str, str | None]:
    return cron_job["spec"]["schedule"], cron_job["spec"].get("timeZone")
