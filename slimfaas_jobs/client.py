"""The client: one method for each call of the service."""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from slimfaas_jobs.errors import (
    InvalidResponseError,
    JobsError,
    NotFoundError,
    RefusedError,
    RequestError,
    RunDeletedError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from slimfaas_jobs.follow import LogFollower
from slimfaas_jobs.models import Definition, EmptiedQueue, Run, Schedule, StartedRun, as_list
from slimfaas_jobs.tokens import Token, check_token
from slimfaas_jobs.transport import Response, Transport

Result = TypeVar("Result")

OnRetry = Callable[[JobsError, float], None]
"""Told before a request is repeated: why, and after how many seconds."""

_SILENCE_SECONDS = 60.0
"""How long an answer may take: longer than the service gives a call of the API server."""

_FOLLOW_SILENCE_SECONDS = 300.0
"""After this much silence a followed log is opened anew, in case that the other side has gone without a word."""

_LONGEST_WAIT_SECONDS = 60
_SHOWN_WAIT_SECONDS = 2
_PAUSES_SECONDS = (0.5, 10.0)
_TOO_MANY_REQUESTS = 429
_UNAUTHORIZED = 401
_SCHEDULES = "/job-schedules/"
_PASSING = (502, 503, 504)
"""What the service answers while the API server is away, and a proxy while the service is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """When a call gives up, by the monotonic clock.

    Attributes:
        retry_until: when the last retry may begin.
        end: when the caller's own time is over; `None`: never.
    """

    retry_until: float
    end: float | None = None


class Client:
    """Calls one service. It keeps no connection and no state of requests, so threads can share it.

    A request is repeated after a broken connection, a 502, 503 or 504, and a 429 that names a time within
    `retry_seconds`. That is safe: a run is started under an `Idempotency-Key`, and everything else can be repeated.

    Args:
        url: the service's, such as `http://slimfaas:5000`.
        token: a bearer token, or a function that returns one; `None`: send none.
        ca_file: certificates of authorities to trust, in PEM; `None`: the system's.
        retry_seconds: for how long a request is repeated; 0: never.
        on_retry: told before a request is repeated.

    Raises:
        ValueError: the URL is invalid.
        OSError: `ca_file` cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        ca_file: str | None = None,
        retry_seconds: float = 30.0,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._transport = Transport(url, ca_file=ca_file)
        self._token = token
        self._retry_seconds = retry_seconds
        self._on_retry = on_retry

    @property
    def url(self) -> str:
        """The service's URL."""
        return self._transport.url

    def start(
        self,
        name: str,
        *,
        args: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
        fields: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> StartedRun:
        """Start a run, once: also after a lost answer.

        Args:
            name: the definition.
            args: arguments of its container; `None`: the definition's.
            environment: further environment variables.
            image: its image; `None`: the definition's.
            fields: any other fields of a request (docs/configuration.md), such as `{"DependsOn": ["database"]}`.
            idempotency_key: 1 to 255 visible ASCII characters, without quote, backslash and comma; the same key again
                gets the same run. `None`: a random one.

        Raises:
            RefusedError: the service refuses the request, and names every faulty field.
            NotFoundError: there is no such definition.
            UnavailableError: the service can't answer now. The run may have been started: only the same key tells.
            UnreachableError: the same, without an answer.
        """
        key = str(uuid.uuid4()) if idempotency_key is None else _check_key(idempotency_key)
        body = _body(args, environment, image, fields)

        def read(response: Response) -> StartedRun:
            document = _read_json(response)
            if not isinstance(document, dict) or not all(isinstance(document.get(key), str) for key in ("Id", "Name")):
                raise InvalidResponseError("the response to the start of a run has no Id or no Name")
            return StartedRun(
                # A name without a definition may be served by another one, which the address names.
                definition=_definition_of(response.header("Location")) or name.lower(),
                id=document["Id"],
                name=document["Name"],
                status=str(document.get("Status", "")),
                replayed=response.header("Idempotency-Replayed") == "true",
            )

        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._call("POST", _path(name), read, headers=headers, body=body)

    def dry_run(
        self,
        name: str,
        *,
        args: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Ask whether a request would be accepted; returns the Job as it would be stored.

        The arguments are those of `start`, and so are the errors.
        """
        body = _body(args, environment, image, fields)
        headers = {"Content-Type": "application/json"}
        job = self._call("POST", _path(name, query={"dryRun": "true"}), _read_json, headers=headers, body=body)
        if not isinstance(job, dict):
            raise InvalidResponseError("the response to a dry run is not a Job")
        return job

    def get(self, name: str, run_id: str) -> Run:
        """Return a run.

        Raises:
            NotFoundError: there is no such definition or run.
        """
        return self._get(name, run_id, 0, self._deadlines())[0]

    def wait(
        self,
        name: str,
        run_id: str,
        *,
        timeout_seconds: float | None = None,
        on_update: Callable[[Run], None] | None = None,
        retry_seconds: float = 300.0,
    ) -> Run:
        """Wait until a run has ended, also through restarts and outages of the service.

        Args:
            name: the definition.
            run_id: the run.
            timeout_seconds: how long at most; `None`: as long as it takes.
            on_update: called with each state that is read, about every two seconds.
            retry_seconds: how long the service may be away at a stretch.

        Raises:
            WaitTimeoutError: the time is over.
            RunDeletedError: the run was deleted before it ended.
            NotFoundError: there is no such run.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        known: Run | None = None
        while True:
            began = time.monotonic()
            seconds = float(_LONGEST_WAIT_SECONDS if on_update is None else _SHOWN_WAIT_SECONDS if known else 0)
            if end is not None:
                seconds = min(seconds, max(end - began, 0.0))
            try:
                deadlines = Deadlines(retry_until=began + retry_seconds, end=end)
                known, waited = self._get(name, run_id, int(seconds), deadlines)
            except NotFoundError as error:
                if known is None:
                    raise
                raise RunDeletedError(f"{name}/{run_id} was deleted before it ended", known) from error
            except WaitTimeoutError as error:
                raise WaitTimeoutError(str(error), known) from error
            if on_update is not None:
                on_update(known)
            if known.has_ended:
                return known
            now = time.monotonic()
            if end is not None and now >= end:
                raise WaitTimeoutError(f"{name}/{run_id} has not ended: {describe(known)}", known)
            # A service that is stopped answers at once, and one with too many waiting requests does not wait.
            pause = min(seconds, 1.0 if waited else 2.0) - (now - began)
            time.sleep(max(0.0, pause if end is None else min(pause, end - now)))

    def list_runs(
        self,
        name: str,
        *,
        status: Sequence[str] = (),
        limit: int | None = None,
        finished_since: datetime | None = None,
        notification: Sequence[str] = (),
    ) -> Iterator[Run]:
        """Yield the runs of a definition, newest first.

        Args:
            name: the definition.
            status: only runs with one of these states; empty: all.
            limit: how many at most; `None`: all.
            finished_since: only runs that ended at this time or later, which has a time zone; `None`: all.
            notification: only runs whose notification has one of these states; empty: all.

        Raises:
            RefusedError: the caller may not list them (403), or a state is unknown (400).
        """
        query = [("status", one) for one in status] + [("notification", one) for one in notification]
        if finished_since is not None:
            query.append(("finishedSince", finished_since.isoformat()))
        left = limit
        following = ""
        while left is None or left > 0:
            page = [*query, ("limit", str(min(left or 500, 500))), *([("continue", following)] if following else [])]

            def read(response: Response) -> tuple[list[Run], str]:
                runs = [Run.from_document(name, one) for one in as_list(_read_json(response))]
                return runs, _next_page(response.header("Link"))

            runs, following = self._call("GET", _path(name, query=page), read)
            yield from runs if left is None else runs[:left]
            left = None if left is None else left - len(runs)
            if not following:
                return

    def cancel(self, name: str, run_id: str) -> Run | None:
        """Cancel a queued or active run, or remove a finished one.

        Returns:
            Its last state; `None`: it is gone, but the answer that said so was lost.

        Raises:
            NotFoundError: there is no such run.
        """

        def read(response: Response) -> Run:
            return Run.from_document(name, _read_json(response))

        return self._delete(_path(name, run_id), read)

    def empty_queue(self, name: str) -> EmptiedQueue:
        """Delete the queued runs of a definition; if some remain, call it again."""
        document = self._call("DELETE", _path(name, query={"status": "Queued"}), _read_json)
        try:
            return EmptiedQueue(deleted=int(document["Deleted"]), remaining=int(document["Remaining"]))
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidResponseError("the response does not say how many runs were deleted") from error

    def logs(
        self,
        name: str,
        run_id: str,
        *,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        attempt: int | None = None,
        container: str | None = None,
    ) -> Iterator[bytes]:
        """Yield what a run has printed so far, byte for byte.

        Args:
            name: the definition.
            run_id: the run.
            tail_lines: only the last lines; `None`: all.
            since_seconds: only lines that are no older; `None`: all.
            attempt: from 1; `None`: the last one.
            container: of this container; `None`: the run's own.

        Raises:
            NotFoundError: there is no such run, attempt or container.
            RefusedError: there is no log yet, or no more (409).
            UnreachableError: the log broke off. What was yielded before is not the whole log.
        """
        given = {"tailLines": tail_lines, "sinceSeconds": since_seconds, "attempt": attempt, "container": container}
        query = {key: str(value) for key, value in given.items() if value is not None}
        with self._open_log(name, run_id, query, self._deadlines()) as response:
            yield from response.pieces()

    def follow_logs(
        self,
        name: str,
        run_id: str,
        *,
        attempt: int | None = None,
        tail_lines: int | None = None,
        container: str | None = None,
        timeout_seconds: float | None = None,
        on_update: Callable[[Run], None] | None = None,
        on_gap: Callable[[str], None] | None = None,
        retry_seconds: float = 300.0,
    ) -> Iterator[bytes]:
        """Yield what a run prints, from its first attempt on, until it has ended.

        A log that breaks off, as when the service restarts, is continued where it was: no byte comes twice.

        Args:
            name: the definition.
            run_id: the run.
            attempt: only this attempt; `None`: all that there still are, one after the other.
            tail_lines: begin with the last attempt, and with this many lines of what it has printed; `None`: begin
                with the first one.
            container: of this container; `None`: the run's own.
            timeout_seconds: how long at most; `None`: as long as it takes.
            on_update: called with the run's state while it prints nothing because it has not started.
            on_gap: called with a text when a part of the log is lost, such as after its rotation.
            retry_seconds: how long the service may be away at a stretch.

        Raises:
            WaitTimeoutError: the time is over.
            NotFoundError: there is no such run or container, or it was deleted meanwhile.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds

        def deadlines() -> Deadlines:
            return Deadlines(retry_until=time.monotonic() + retry_seconds, end=end)

        def open_log(number: int, *, follow: bool) -> Response:
            query = {"attempt": str(number), **({"follow": "true"} if follow else {})}
            if container is not None:
                query["container"] = container
            response = self._open_log(name, run_id, query, deadlines())
            response.limit(_FOLLOW_SILENCE_SECONDS if follow else _SILENCE_SECONDS, end)
            return response

        def get() -> Run:
            return self._get(name, run_id, 0, deadlines())[0]

        follower = LogFollower(
            open_log, get, end=end, on_update=on_update, on_gap=on_gap, counts_attempts=container is None
        )
        return follower.follow(attempt, tail_lines)

    def status(self) -> list[Definition]:
        """Return the definitions that the caller may use, with slots, queues and dependencies."""

        def read(response: Response) -> list[Definition]:
            return [Definition.from_document(one) for one in as_list(_read_json(response))]

        return self._call("GET", "/jobs/status", read)

    def schedules(self, name: str) -> list[Schedule]:
        """Return the schedules of a definition.

        Raises:
            RefusedError: the caller may not list them.
            NotFoundError: there is no such definition.
        """

        def read(response: Response) -> list[Schedule]:
            return [Schedule.from_document(one) for one in as_list(_read_json(response))]

        return self._call("GET", _path(name, root=_SCHEDULES), read)

    def add_schedule(
        self,
        name: str,
        schedule: str,
        *,
        time_zone: str | None = None,
        args: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
        fields: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Make a schedule, once: also after a lost answer.

        Args:
            name: the definition.
            schedule: a cron expression.
            time_zone: of the cron expression, such as `Europe/Paris`; `None`: UTC.
            args: see `start`.
            environment: see `start`.
            image: see `start`.
            fields: any other fields (docs/http.md), such as `{"ConcurrencyPolicy": "Forbid"}`.
            idempotency_key: see `start`.

        Returns:
            Its id.

        Raises:
            RefusedError: see `start`.
            NotFoundError: there is no such definition.
            UnavailableError: see `start`.
            UnreachableError: see `start`.
        """
        key = str(uuid.uuid4()) if idempotency_key is None else _check_key(idempotency_key)
        zone = {} if time_zone is None else {"TimeZone": time_zone}
        body = _body(args, environment, image, {**(fields or {}), "Schedule": schedule, **zone})

        def read(response: Response) -> str:
            document = _read_json(response)
            if not isinstance(document, dict) or not isinstance(document.get("Id"), str):
                raise InvalidResponseError("the response to a new schedule has no Id")
            return str(document["Id"])

        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._call("POST", _path(name, root=_SCHEDULES), read, headers=headers, body=body)

    def suspend_schedule(self, name: str, schedule_id: str, *, suspend: bool = True) -> Schedule:
        """Pause a schedule, or resume it.

        Raises:
            NotFoundError: there is no such schedule.
            RefusedError: no request has made it (409), or its definition does not allow it any more.
        """

        def read(response: Response) -> Schedule:
            return Schedule.from_document(_read_json(response))

        headers = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"Suspend": suspend}).encode()
        return self._call("PATCH", _path(name, schedule_id, root=_SCHEDULES), read, headers=headers, body=body)

    def delete_schedule(self, name: str, schedule_id: str) -> None:
        """Delete a schedule; its queued runs are deleted with it, the others stay.

        Raises:
            NotFoundError: there is no such schedule.
            RefusedError: no request has made it (409).
        """
        self._delete(_path(name, schedule_id, root=_SCHEDULES), lambda _: None)

    def _delete(self, target: str, read: Callable[[Response], Result]) -> Result | None:
        """Delete something; `None`: it is gone, but the answer that said so was lost."""
        repeated = False

        def remember(_error: JobsError, _seconds: float) -> None:
            nonlocal repeated
            repeated = True

        try:
            return self._call("DELETE", target, read, also=remember)
        except NotFoundError:
            if repeated:
                return None
            raise

    def _get(self, name: str, run_id: str, wait_seconds: int, deadlines: Deadlines) -> tuple[Run, bool]:
        """Return a run, and whether the service has waited for its end."""

        def read(response: Response) -> tuple[Run, bool]:
            return Run.from_document(name, _read_json(response)), bool(response.header("Preference-Applied"))

        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        silence_seconds = _SILENCE_SECONDS + wait_seconds
        return self._call(
            "GET", _path(name, run_id), read, headers=headers, deadlines=deadlines, silence_seconds=silence_seconds
        )

    def _open_log(self, name: str, run_id: str, query: Mapping[str, str], deadlines: Deadlines) -> Response:
        return self._call(
            "GET", _path(name, run_id, "logs", query=query), lambda response: response, deadlines=deadlines, close=False
        )

    def _deadlines(self) -> Deadlines:
        return Deadlines(retry_until=time.monotonic() + self._retry_seconds)

    def _call(
        self,
        method: str,
        target: str,
        read: Callable[[Response], Result],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        deadlines: Deadlines | None = None,
        silence_seconds: float = _SILENCE_SECONDS,
        close: bool = True,
        also: OnRetry | None = None,
    ) -> Result:
        """Send a request, and repeat it while that helps.

        Args:
            method: the HTTP method.
            target: the path with its query.
            read: reads the response; called again if the connection breaks meanwhile.
            headers: further headers.
            body: the body.
            deadlines: when to give up; `None`: those of the client.
            silence_seconds: how long nothing may arrive.
            close: whether to close the response; `False`: the caller does.
            also: told before a request is repeated, besides the client's own.
        """
        deadlines = deadlines or self._deadlines()
        pauses = _pauses()
        renewed = was_sent = False
        while True:
            try:
                return self._try(method, target, read, headers or {}, body, silence_seconds, close=close)
            except JobsError as error:
                if isinstance(error, UnreachableError):
                    error.sent = was_sent = was_sent or error.sent  # an earlier try may have been carried out
                else:
                    was_sent = True
                if isinstance(error, RequestError) and error.status == _UNAUTHORIZED and not renewed:
                    renewed = True
                    if self._forget_token():
                        continue
                seconds = _pause_before_retry(error, next(pauses))
                now = time.monotonic()
                if seconds is None:
                    raise
                if deadlines.end is not None and now + seconds >= deadlines.end:
                    time.sleep(max(0.0, deadlines.end - now))
                    raise WaitTimeoutError(f"the time to wait is over; last error: {error}") from error
                if now + seconds > deadlines.retry_until:
                    raise
                for told in filter(None, (self._on_retry, also)):
                    told(error, seconds)
                time.sleep(seconds)

    def _try(
        self,
        method: str,
        target: str,
        read: Callable[[Response], Result],
        headers: Mapping[str, str],
        body: bytes | None,
        silence_seconds: float,
        *,
        close: bool,
    ) -> Result:
        sent = {"Accept": "application/json, text/plain", "User-Agent": "slimfaas-jobs-client", **headers}
        if self._token is not None:
            token = self._token if isinstance(self._token, str) else self._token()
            sent["Authorization"] = f"Bearer {check_token(token, 'the token')}"
        response = self._transport.open(method, target, headers=sent, body=body, silence_seconds=silence_seconds)
        kept = False
        try:
            if not 200 <= response.status < 300:
                raise _error_of(response)
            result = read(response)
            kept = not close
            return result
        finally:
            if not kept:
                response.close()

    def _forget_token(self) -> bool:
        """Have a token renewed that the service has refused; returns whether it can be."""
        forget = getattr(self._token, "forget", None)
        if forget is not None:
            forget()
        return forget is not None


def describe(run: Run) -> str:
    """Return a run's state for people, in a line."""
    return f"{run.status} ({run.message})" if run.message else run.status


def _body(
    args: Sequence[str] | None,
    environment: Mapping[str, str] | None,
    image: str | None,
    fields: Mapping[str, Any] | None,
) -> bytes:
    """Return the body of a request: the same bytes for the same arguments, as a key demands."""
    document: dict[str, Any] = dict(fields or {})
    if args is not None:
        document["Args"] = list(args)
    if image is not None:
        document["Image"] = image
    if environment:
        variables = [{"Name": name, "Value": value} for name, value in environment.items()]
        document["Environments"] = [*(document.get("Environments") or []), *variables]
    return json.dumps(document).encode()


def _check_key(key: str) -> str:
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" and character not in '",\\' for character in key):
        raise ValueError('a key is 1 to 255 visible ASCII characters, without ", \\ and comma')
    return key


def _path(*segments: str, query: Mapping[str, str] | Sequence[tuple[str, str]] = (), root: str = "/job/") -> str:
    for segment in segments:
        if not segment or segment in (".", ".."):
            raise ValueError("a name or an id is empty or a dot segment")
    path = root + "/".join(quote(segment, safe="") for segment in segments)
    return f"{path}?{urlencode(query)}" if query else path


def _definition_of(location: str) -> str:
    """Return the definition in the address of a run, whatever prefix a proxy has put before it."""
    segments = urlsplit(location).path.split("/")
    return unquote(segments[-2]) if len(segments) >= 4 and segments[-3] == "job" else ""


def _next_page(link: str) -> str:
    """Return where the next page begins. Only this is taken from the header: the address stays ours."""
    target, _, relation = link.partition(">")
    if not target.startswith("<") or 'rel="next"' not in relation:
        return ""
    return dict(parse_qsl(urlsplit(target[1:]).query)).get("continue", "")


def _read_json(response: Response) -> Any:
    body = response.read()
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidResponseError("the response is not JSON: is this the URL of SlimFaas Jobs?") from error


def _error_of(response: Response) -> RequestError:
    """Return the error that a response means."""
    status = response.status
    detail, faults = f"HTTP status {status}", []
    if 300 <= status < 400:
        detail = (
            f"the service redirects to {response.header('Location') or 'nowhere'}: use the address that it leads to"
        )
    try:
        document = json.loads(response.read())
        if isinstance(document, dict):
            detail = str(document.get("detail") or detail)
            faults = [(str(one["pointer"]), str(one["message"])) for one in document.get("errors") or ()]
    except (JobsError, ValueError, RecursionError, TypeError, LookupError):
        pass  # a proxy's own error, whose page says nothing to a person at a terminal
    retry_after = response.header("Retry-After")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    kinds: dict[int, type[RequestError]] = {404: NotFoundError}
    kind = kinds.get(status, RefusedError if status < 500 else UnavailableError)
    return kind(status, detail, faults, seconds)


def _pauses() -> Iterator[float]:
    shortest, longest = _PAUSES_SECONDS
    seconds = shortest
    while True:
        yield seconds * secrets.SystemRandom().uniform(0.8, 1.2)
        seconds = min(seconds * 2, longest)


def _pause_before_retry(error: JobsError, pause_seconds: float) -> float | None:
    """Return after how many seconds a request may be repeated; `None`: that would change nothing."""
    if isinstance(error, UnreachableError):
        return pause_seconds if error.retryable else None
    if not isinstance(error, RequestError):
        return None
    if error.status == _TOO_MANY_REQUESTS:
        return max(pause_seconds, error.retry_after_seconds or 1.0)
    if error.status in _PASSING:
        return max(pause_seconds, min(error.retry_after_seconds or 0.0, 5.0))
    return None
