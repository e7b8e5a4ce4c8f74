"""The logs of runs: choosing the container, and passing its log on in bounded memory.

A log that ends too early must not look complete. The API server ends a response properly even if its own connection to
the kubelet broke. So after the end of a followed log the pod is read, to see whether its container has ended, too.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from app.common.backoff import jittered
from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.kube.cancel_token import CancelToken
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError
from app.kube.job_watch import watch_job
from app.kube.parsing import read_run, terminal_condition
from app.runs.limits.long_requests import STRANGER, LongRequestLimiter, Trust
from app.runs.logs.containers import Container, containers_after, containers_of, is_over
from app.runs.reader import RunReader, UnknownRunError
from schemas.run_container import run_container

_SILENCE_SECONDS = 10.0
"""How long a log that is complete already may deliver nothing."""

_LAG_SECONDS = 20.0
"""How long after the end of a log the end of its container may be unknown, and how long an outage may last then."""

_WATCH_SECONDS = 5
"""How long the Job is watched after a container's end before its pods are read again."""

_RETRY_SECONDS = 0.5


class NoLogError(ServiceError):
    """There is no log yet, or no log any more; the message says why."""

    kind = ErrorKind.CONFLICT

    @property
    def detail(self) -> str:
        """Why there is no log."""
        return str(self)


class UnknownContainerError(ServiceError):
    """The run has no such container; the message names those that it has."""

    kind = ErrorKind.NOT_FOUND

    @property
    def detail(self) -> str:
        """The containers whose logs can be read."""
        return str(self)


class UnknownAttemptError(ServiceError):
    """The run has no such attempt, or its log is not kept; the message says which."""

    kind = ErrorKind.NOT_FOUND

    @property
    def detail(self) -> str:
        """Which attempt is missing."""
        return str(self)


class BrokenLogError(Exception):
    """A log broke off: what has been passed on is not the whole log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Which part of a run's log a caller wants.

    Attributes:
        tail_lines: only this many lines at its end; `None`: all.
        since_seconds: only lines that are no older than this; `None`: all.
        attempt: the number of the attempt, from 1 on; `None`: the last one.
        previous: the attempt before the last one.
        follow: go on with new lines until the chosen attempt ends. If no attempt was chosen: until the run ends.
        container: the name of a container or init container of the run; `None`: the run's own. An attempt is then a
            start of that container.
    """

    tail_lines: int | None = None
    since_seconds: int | None = None
    attempt: int | None = None
    previous: bool = False
    follow: bool = False
    container: str | None = None


class LogReader:
    """Reads the logs of runs.

    Args:
        client: of the namespace that the runs are in.
        runs: reads them.
        streams: gives the places.
    """

    def __init__(self, client: NamespacedClient, runs: RunReader, streams: LongRequestLimiter) -> None:
        self._client = client
        self._runs = runs
        self._streams = streams

    def check(self, definition: str, run_id: str, options: LogOptions) -> None:
        """Raise what `read` would raise, as far as that is known before the log is opened."""
        self._choose(self._runs.find(definition, run_id), options)

    def read(
        self, definition: str, run_id: str, options: LogOptions, gone: Callable[[], bool], *, trust: Trust = STRANGER
    ) -> Generator[bytes]:
        """Read a log; what is wrong is raised before the first piece, which is empty, and then only `BrokenLogError`.

        Args:
            definition: of the run.
            run_id: its id.
            options: what is wanted of its log.
            gone: see `LongRequestLimiter.acquire`.
            trust: see `LongRequestLimiter.acquire`.

        Raises:
            TooManyLongRequestsError: too many logs are read, or runs waited for.
            UnknownRunError: there is no such run.
            UnknownContainerError: it has no such container.
            UnknownAttemptError: it has no such attempt, or the kubelet has dropped its log.
            NoLogError: there is no log yet, or none any more.
            ClusterError: the call to the API server failed.
            BrokenLogError: it ends too early: the API server broke off, or this process is to stop.
        """
        with self._streams.acquire(gone, trust=trust) as cancel_token:
            container = self._choose(self._runs.find(definition, run_id), options)
            try:
                yield from self._pass_on(container, options, cancel_token)
            except InvalidError as error:
                raise NoLogError(error.message) from error
            while options.follow:
                any_pod = options.attempt is None
                following = self._await_next(definition, run_id, container, cancel_token, any_pod=any_pod)
                if following is None:
                    return
                container = following
                yield from self._pass_on_surely(container, cancel_token)

    def _choose(self, job: Json, options: LogOptions) -> Container:
        name = choose_container(job, options.container)
        containers = containers_of(self._runs.every_attempt_at(read_run(job), name))
        if not containers:
            raise NoLogError(self._why_no_pod(job))
        number = options.attempt or (len(containers) - 1 if options.previous else len(containers))
        if not 1 <= number <= len(containers):
            which = "no attempt before the last one" if options.previous else f"no attempt {options.attempt}"
            raise UnknownAttemptError(f"the run has {which}; attempts that still exist: {len(containers)}")
        container = containers[number - 1]
        if not container.is_kept():
            raise UnknownAttemptError(f"the log of attempt {number} is no longer kept")
        if not container.has_begun():
            waiting = container.pod.waiting_reason
            words = ": ".join(filter(None, (waiting.reason, waiting.message))) if waiting else container.pod.phase
            which = "the run's container" if options.container is None else f"the container {name}"
            raise NoLogError(f"{which} has not started: {words}")
        return container

    def _why_no_pod(self, job: Json) -> str:
        view = self._runs.view(job)
        if terminal_condition(job) is not None:
            return "the run's pods are gone, and their logs with them"
        return view.message or "the run has no pod yet"

    def _pass_on(self, container: Container, options: LogOptions, cancel_token: CancelToken) -> Iterator[bytes]:
        """Yield the log of one attempt. The first piece is empty and says that the log is open."""
        query: dict[str, str | int] = {"container": container.pod.container}
        given = {"tailLines": options.tail_lines, "sinceSeconds": options.since_seconds}
        query |= {name: value for name, value in given.items() if value is not None}
        if not container.is_last():
            query["previous"] = "true"
        elif options.follow and not container.is_over():
            # The log of a container that has ended is complete: do not let a kubelet make us wait for more.
            query["follow"] = "true"
        silence_seconds = None if "follow" in query else _SILENCE_SECONDS
        opened = False
        try:
            with self._client.log(
                container.pod.pod, query, silence_seconds=silence_seconds, cancel_token=cancel_token
            ) as stream:
                opened = True
                yield b""
                yield from stream.pieces()
        except ClusterError as error:
            if not opened:
                raise
            raise BrokenLogError(error.message) from error

    def _pass_on_surely(self, container: Container, cancel_token: CancelToken) -> Iterator[bytes]:
        """Yield the whole log of a later attempt. Opening it is retried."""
        give_up_at = time.monotonic() + _LAG_SECONDS
        while True:
            try:
                yield from self._pass_on(container, LogOptions(follow=True), cancel_token)
                return
            except ClusterError as error:
                self._wait_for_retry(error, give_up_at, cancel_token)

    def _await_next(
        self, definition: str, run_id: str, container: Container, cancel_token: CancelToken, *, any_pod: bool
    ) -> Container | None:
        """Wait for the attempt that follows one whose log has ended.

        Args:
            definition: the run's.
            run_id: the run's.
            container: the attempt.
            cancel_token: ends the wait.
            any_pod: whether to wait for another attempt; `False`: only until this one is known to have ended.

        Returns:
            The next attempt, which has begun; `None`: no other follows.

        Raises:
            BrokenLogError: it stays unknown what follows, or the next attempt's log is not kept any more.
        """
        give_up_at = time.monotonic() + _LAG_SECONDS
        while True:
            try:
                # Read the Job before its pods: once it has ended, no other pods follow.
                job = self._runs.find(definition, run_id)
                containers = containers_of(self._runs.every_attempt_at(read_run(job), container.pod.container))
                if is_over(container, containers):
                    give_up_at = time.monotonic() + _LAG_SECONDS
                    later = [
                        one for one in containers_after(container, containers) if one.has_begun() or not one.is_over()
                    ]
                    if later and later[0].has_begun() and any_pod:
                        return _checked(later[0])
                    if not any_pod or terminal_condition(job) is not None:
                        return None
                elif time.monotonic() > give_up_at:
                    raise BrokenLogError("the log ended, but its container has not")
                self._await_change(job, cancel_token)
            except UnknownRunError:
                return None
            except ClusterError as error:
                self._wait_for_retry(error, give_up_at, cancel_token)

    def _await_change(self, job: Json, cancel_token: CancelToken) -> None:
        """Wait until the Job changes. Its status counts its pods, which the service has no right to watch."""
        next(watch_job(self._client, job, seconds=_WATCH_SECONDS, cancel_token=cancel_token), None)

    def _wait_for_retry(self, error: ClusterError, give_up_at: float, cancel_token: CancelToken) -> None:
        if cancel_token.is_set or time.monotonic() > give_up_at:
            raise BrokenLogError(error.message) from error
        cancel_token.wait(jittered(_RETRY_SECONDS))


def choose_container(job: Json, wanted: str | None) -> str:
    """Return the name of the container whose log is wanted.

    Only the containers that the Job defines have logs for callers. Those that webhooks add belong to the platform, and
    may print what it keeps from callers.

    Args:
        job: the run's.
        wanted: a name; `None`: the run's own container.

    Raises:
        UnknownContainerError: the Job has no such container or init container.
    """
    template: Json = job["spec"]["template"]
    if wanted is None:
        return str(run_container(template, read_run(job).definition)["name"])
    names = [
        str(one["name"]) for field in ("containers", "initContainers") for one in template["spec"].get(field) or ()
    ]
    if wanted not in names:
        raise UnknownContainerError(f"the run has no such container; it has: {', '.join(names)}")
    return wanted


def _checked(container: Container) -> Container:
    if not container.is_kept():
        raise BrokenLogError("the kubelet no longer has the log of an attempt in between")
    return container
