"""Waiting until a run has ended, for callers that would otherwise poll."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from app.common.backoff import Backoff, jittered
from app.common.concurrency_limiter import BusyError
from app.common.types import Json
from app.kube.cancel_token import CancelToken
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.kube.job_watch import watch_job
from app.kube.parsing import terminal_condition
from app.runs.limits.long_requests import STRANGER, LongRequestLimiter, TooManyLongRequestsError, Trust
from app.runs.reader import RunReader, UnknownRunError
from schemas.run import RunView, Status

log = logging.getLogger(__name__)

_WATCH_SECONDS = 50
"""How long one watch lasts at most. Starting the next one costs two cheap calls."""

_BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)

_STEADY_SECONDS = 1.0
"""A watch that lasts this long, and longer than the wait before it, resets the backoff."""


def has_ended(view: RunView) -> bool:
    """Return whether a run has ended: its status will not change any more."""
    return view.status in (Status.SUCCEEDED, Status.FAILED)


class RunWaiter:
    """Waits for runs.

    Args:
        client: of the namespace that the runs are in.
        runs: reads them.
        streams: limits how many wait.
    """

    def __init__(self, client: NamespacedClient, runs: RunReader, streams: LongRequestLimiter) -> None:
        self._client = client
        self._runs = runs
        self._streams = streams

    @contextmanager
    def acquire(
        self, seconds: int | None, gone: Callable[[], bool], *, trust: Trust = STRANGER
    ) -> Iterator[CancelToken | None]:
        """Count a request as a long one while its caller waits.

        Args:
            seconds: how long the caller wants to wait; `None` or 0: not at all.
            gone: see `LongRequestLimiter.acquire`.
            trust: see `LongRequestLimiter.acquire`.

        Yields:
            What ends the wait; `None`: the caller does not want to wait, or can't, because too many others do.
        """
        with ExitStack() as stack:
            cancel_token = None
            if seconds:
                with suppress(TooManyLongRequestsError):
                    cancel_token = stack.enter_context(self._streams.acquire(gone, seconds, trust=trust))
            yield cancel_token

    def wait_for_end(self, definition: str, run_id: str, cancel_token: CancelToken) -> RunView:
        """Return a run when it has ended, or as it is when the token is set.

        While the API server is unreachable, the wait goes on.

        Raises:
            UnknownRunError: there is no such run, or it was deleted before it ended.
            ClusterError: the token is set, and the call to the API server failed.
        """
        backoff = _BACKOFF
        while not cancel_token.is_set:
            began = time.monotonic()
            try:
                job = self._watch(self._runs.find(definition, run_id), cancel_token)
                if terminal_condition(job) is not None:
                    # Do not read it again: a run with a short TTL may be gone by now.
                    return self._runs.view(job)
            except ClusterError as error:
                if not cancel_token.is_set:
                    log.warning("waiting for a run failed, reading it again: %s", error)
            now = time.monotonic()
            if now - began > max(backoff.seconds, _STEADY_SECONDS):
                backoff = backoff.reset()
            backoff = backoff.next(now)
            cancel_token.wait(jittered(backoff.seconds))
        return self._runs.get(definition, run_id)

    def wait_if_possible(self, definition: str, run_id: str, cancel_token: CancelToken) -> RunView | None:
        """Wait as `wait_for_end` does for a run that has just been stored; `None`: the run can't be read."""
        try:
            return self.wait_for_end(definition, run_id, cancel_token)
        except (UnknownRunError, ClusterError, BusyError) as error:
            log.warning("waiting for a run failed, answering without its state: %s", error)
            return None

    def _watch(self, job: Json, cancel_token: CancelToken) -> Json:
        """Watch a Job until it has ended or the watch ends, and return its last state."""
        if terminal_condition(job) is not None:
            return job
        for change in watch_job(self._client, job, seconds=_WATCH_SECONDS, cancel_token=cancel_token):
            job = change.job
            if terminal_condition(job) is not None:
                break
            if change.deleted:
                raise UnknownRunError(job["metadata"]["name"])
        return job
