"""The logs of runs: which container's log is meant, and passing it on in bounded memory.

A log that ends too early must not look complete. The API server ends an answer in good order also where its own
connection to the kubelet broke, so whoever follows a log asks at its end whether the container has ended, too.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.kube.cancel_token import CancelToken
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError
from app.kube.job_watch import watch_job
from app.kube.parsing import read_run, terminal_condition
from app.runs.limits.long_requests import LongRequestLimiter
from app.runs.logs.containers import Container, containers_after, containers_of, is_over
from app.runs.reader import RunReader, UnknownRunError

_SILENCE_SECONDS = 10.0
"""How long nothing may come of a log that is there already."""

_LAG_SECONDS = 20.0
"""How long after a log's end its container's end may still be unknown, and how long an outage may last meanwhile."""

_WATCH_SECONDS = 5
"""How long the Job is watched for what comes after a container's end, before its pods are looked at all the same."""

_PAUSE_SECONDS = 0.5


class NoLogError(ServiceError):
    """There is no log yet, or none any more; the message says why."""

    kind = ErrorKind.CONFLICT

    @property
    def detail(self) -> str:
        """Why there is none."""
        return str(self)


class UnknownAttemptError(ServiceError):
    """The run has no such attempt, or its log isn't kept; the message says which."""

    kind = ErrorKind.NOT_FOUND

    @property
    def detail(self) -> str:
        """Which attempt."""
        return str(self)


class BrokenLogError(Exception):
    """A log broke off: what has been passed on isn't all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What of a run's log is wanted.

    Attributes:
        tail_lines: only so many lines at its end; `None`: all.
        since_seconds: only what is no older; `None`: all.
        attempt: whose log, from 1 on; `None`: the last one's.
        previous: that of the attempt before the last one.
        follow: go on with what comes, until the attempt ends that was chosen, or else the run.
    """

    tail_lines: int | None = None
    since_seconds: int | None = None
    attempt: int | None = None
    previous: bool = False
    follow: bool = False


class LogReader:
    """Reads the logs of runs.

    Args:
        client: where they are.
        runs: finds them.
        streams: limits how many logs are read.
    """

    def __init__(self, client: NamespacedClient, runs: RunReader, streams: LongRequestLimiter) -> None:
        self._client = client
        self._runs = runs
        self._streams = streams

    def check(self, definition: str, run_id: str, options: LogOptions) -> None:
        """Raise what `read` would raise, as far as that can be told without opening the log."""
        self._choose(self._runs.find(definition, run_id), options)

    def read(
        self, definition: str, run_id: str, options: LogOptions, gone: Callable[[], bool], *, trusted: bool = False
    ) -> Generator[bytes]:
        """Read a log; what is wrong is raised before the first piece, which is empty, and then only `BrokenLogError`.

        Args:
            definition: of the run.
            run_id: its id.
            options: what is wanted of its log.
            gone: see `LongRequestLimiter.acquire`.
            trusted: see `LongRequestLimiter.acquire`.

        Raises:
            TooManyLongRequestsError: too many logs are read, or runs waited for.
            UnknownRunError: there is no such run.
            UnknownAttemptError: it has no such attempt, or the kubelet has dropped its log.
            NoLogError: there is no log yet, or none any more.
            ClusterError: the API server can't be asked.
            BrokenLogError: it ends too early: the API server broke off, or this process is to stop.
        """
        with self._streams.acquire(gone, trusted=trusted) as cancel_token:
            container = self._choose(self._runs.find(definition, run_id), options)
            try:
                yield from self._pass_on(definition, container, options, cancel_token)
            except InvalidError as error:
                raise NoLogError(error.message) from error
            while options.follow:
                following = self._await_next(
                    definition, run_id, container, cancel_token, any_pod=options.attempt is None
                )
                if following is None:
                    return
                container = following
                yield from self._pass_on_surely(definition, container, cancel_token)

    def _choose(self, job: Json, options: LogOptions) -> Container:
        containers = containers_of(self._runs.every_attempt_at(read_run(job)))
        if not containers:
            raise NoLogError(self._why_no_pod(job))
        number = options.attempt or (len(containers) - 1 if options.previous else len(containers))
        if not 1 <= number <= len(containers):
            which = "no attempt before the last one" if options.previous else f"no attempt {options.attempt}"
            raise UnknownAttemptError(f"the run has {which}; there is a log of {len(containers)}")
        container = containers[number - 1]
        if not container.is_kept():
            raise UnknownAttemptError(f"the log of attempt {number} is no longer kept")
        if not container.has_begun():
            trouble = container.pod.trouble
            words = ": ".join(filter(None, (trouble.reason, trouble.message))) if trouble else container.pod.phase
            raise NoLogError(f"the run's container has not started: {words}")
        return container

    def _why_no_pod(self, job: Json) -> str:
        view = self._runs.view(job)
        if terminal_condition(job) is not None:
            return "the run's pods are gone, and their logs with them"
        return view.message or "the run has no pod yet"

    def _pass_on(
        self, definition: str, container: Container, options: LogOptions, cancel_token: CancelToken
    ) -> Iterator[bytes]:
        """Pass the log of one attempt on; once it is open, an empty piece says so."""
        query: dict[str, str | int] = {"container": definition}
        given = {"tailLines": options.tail_lines, "sinceSeconds": options.since_seconds}
        query |= {name: value for name, value in given.items() if value is not None}
        if not container.is_last():
            query["previous"] = "true"
        elif options.follow and not container.is_over():
            # Of a container that is over all is there already: no kubelet can make anyone wait for more.
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

    def _pass_on_surely(self, definition: str, container: Container, cancel_token: CancelToken) -> Iterator[bytes]:
        """Pass the whole log of a later attempt on, though it may take some tries to open it."""
        give_up_at = time.monotonic() + _LAG_SECONDS
        while True:
            try:
                yield from self._pass_on(definition, container, LogOptions(follow=True), cancel_token)
                return
            except ClusterError as error:
                self._pause(error, give_up_at, cancel_token)

    def _await_next(
        self, definition: str, run_id: str, container: Container, cancel_token: CancelToken, *, any_pod: bool
    ) -> Container | None:
        """Wait for the attempt that follows one whose log has ended.

        Args:
            definition: of the run.
            run_id: its id.
            container: the attempt.
            cancel_token: ends it.
            any_pod: whether to wait for another one at all; else only until this one is known to be over.

        Returns:
            The attempt, which has begun; `None`: no other follows.

        Raises:
            BrokenLogError: nobody can say, or the attempt's log isn't kept any more.
        """
        give_up_at = time.monotonic() + _LAG_SECONDS
        while True:
            try:
                job = self._runs.find(definition, run_id)  # before its pods: once it has ended, there are no others
                containers = containers_of(self._runs.every_attempt_at(read_run(job)))
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
                    raise BrokenLogError("the log ended, but its container hasn't")
                self._await_change(job, cancel_token)
            except UnknownRunError:
                return None
            except ClusterError as error:
                self._pause(error, give_up_at, cancel_token)

    def _await_change(self, job: Json, cancel_token: CancelToken) -> None:
        """Wait for something to happen to the Job, whose status counts its pods: those alone may not be watched."""
        next(watch_job(self._client, job, seconds=_WATCH_SECONDS, cancel_token=cancel_token), None)

    def _pause(self, error: ClusterError, give_up_at: float, cancel_token: CancelToken) -> None:
        if cancel_token.is_set or time.monotonic() > give_up_at:
            raise BrokenLogError(error.message) from error
        cancel_token.wait(_PAUSE_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, nothing secret


def _checked(container: Container) -> Container:
    if not container.is_kept():
        raise BrokenLogError("the kubelet has dropped the log of an attempt in between")
    return container
