"""Expiry: finished Jobs are deleted after their TTL, and Events after an hour.

See https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/ and kube-apiserver's `--event-ttl`.
"""

from datetime import UTC, datetime

from devcluster.controllers.cache import Cache
from devcluster.controllers.conditions import find_condition
from devcluster.controllers.loop import Key, KeyQueue, Loop, Timer
from devcluster.controllers.metadata import key_of
from devcluster.kinds import EVENT, JOB
from devcluster.objects import Object, parse_time

EVENT_SECONDS = 3600.0


class JobExpiry:
    """Deletes finished Jobs and their pods `ttlSecondsAfterFinished` after they finished."""

    def __init__(self, cache: Cache, loop: Loop) -> None:
        self._cache = cache
        self._queue = KeyQueue(loop, self._reconcile)
        cache.subscribe(JOB, self._on_job)

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        if new is not None and new["spec"].get("ttlSecondsAfterFinished") is not None:
            self._queue.add(key_of(new))

    def _reconcile(self, key: Key) -> float | None:
        job = self._cache.find(JOB, *key)
        wait_seconds = None if job is None else expires_in_seconds(job, datetime.now(UTC))
        if job is not None and wait_seconds is not None and wait_seconds <= 0:
            self._cache.delete(JOB, job, propagation="Foreground")
            return None
        return wait_seconds


def expires_in_seconds(job: Object, now: datetime) -> float | None:
    """Return the seconds until the Job expires, negative when it has; None when it does not expire."""
    ttl_seconds = job["spec"].get("ttlSecondsAfterFinished")
    status = job.get("status") or {}
    ends = [find_condition(status, type_) for type_ in ("Complete", "Failed")]
    finished = next((end for end in ends if end and end["status"] == "True"), None)
    if ttl_seconds is None or finished is None or job["metadata"].get("deletionTimestamp"):
        return None
    return float(ttl_seconds - (now - parse_time(finished["lastTransitionTime"])).total_seconds())


class EventExpiry:
    """Deletes each Event an hour after its last update."""

    def __init__(self, cache: Cache, loop: Loop) -> None:
        self._cache = cache
        self._loop = loop
        self._timers: dict[Key, Timer] = {}
        cache.subscribe(EVENT, self._on_event)

    def _on_event(self, old: Object | None, new: Object | None) -> None:
        event = new or old
        assert event is not None
        key = key_of(event)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if new is not None:
            self._timers[key] = self._loop.after(EVENT_SECONDS, self._cache.delete, EVENT, new)
