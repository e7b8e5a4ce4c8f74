"""What the client's commands do."""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from app.cli.client import exit_codes
from app.cli.client.environment import ClientSettings, split_command, variable
from app.cli.client.terminal import Terminal
from app.cli.client.text import duration, visible_log
from slimfaas_jobs import (
    Client,
    Definition,
    JobsError,
    NotFoundError,
    RefusedError,
    RequestError,
    Run,
    RunDeletedError,
    Schedule,
    TokenError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
    token_from_command,
    token_from_file,
)

_READ_SECONDS, _WRITE_SECONDS, _WAIT_SECONDS = 5.0, 60.0, 300.0
"""How long a request is repeated by default."""

_WRITES = ("run", "cancel", "schedules")
_MAX_BODY_BYTES = 64 * 1024
_BROKEN_PIPE = 141
_BAD_REQUEST, _CONFLICT = 400, 409
Result = TypeVar("Result")
_CODES: tuple[tuple[type[JobsError], int], ...] = (
    (NotFoundError, exit_codes.NOT_FOUND),
    (RefusedError, exit_codes.REFUSED),
    (TokenError, exit_codes.REFUSED),
    (RunDeletedError, exit_codes.CANCELLED),
    (WaitTimeoutError, exit_codes.TIMED_OUT),
)


class UsageError(Exception):
    """An argument that only this command can judge is wrong; the message says which."""


class Session:
    """One command: its arguments, the client, and the terminal.

    Args:
        name: of the command.
        parsed: its arguments.

    Attributes:
        leave: what to say if Ctrl-C ends the command.
    """

    def __init__(self, name: str, parsed: argparse.Namespace) -> None:
        self.parsed = parsed
        self.terminal = Terminal()
        self.leave = ""
        given = parsed.retry_for
        seconds = _WRITE_SECONDS if name in _WRITES else _READ_SECONDS
        self.client = _make_client(parsed, seconds if given is None else float(given), self.terminal)
        self.wait_retry_seconds = _WAIT_SECONDS if given is None else float(given)
        self._end = None if getattr(parsed, "timeout", None) is None else time.monotonic() + parsed.timeout

    @property
    def seconds_left(self) -> float | None:
        """How long the command may go on to wait; `None`: without limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def run_ids(self) -> list[tuple[str, str]]:
        """Return the runs that the arguments name, each as definition and id."""
        given: list[str] = [one.removeprefix("/job/") for one in self.parsed.run_id]
        if len(given) == 2 and not any("/" in one for one in given):
            return [(given[0], given[1])]
        pairs = [one.split("/") for one in given]
        if not all(len(pair) == 2 and all(pair) for pair in pairs):
            raise UsageError("a run is named as NAME/ID or as NAME ID")
        return [(name, run_id) for name, run_id in pairs]

    def run_id(self) -> tuple[str, str]:
        """Return the one run that the arguments name."""
        runs = self.run_ids()
        if len(runs) != 1:
            raise UsageError("name one run")
        return runs[0]

    def command(self, *words: str) -> str:
        """Return a command line to paste, which calls the same service."""
        parsed = self.parsed
        given = {
            "--server": parsed.server,
            "--token-file": parsed.token_file,
            "--token-command": parsed.token_command,
            "--ca-file": parsed.ca_file,
        }
        options = [word for option, value in given.items() if value for word in (option, value)]
        program = "slimfaas-jobs" if shutil.which("slimfaas-jobs") else sys.argv[0]
        return shlex.join([program, *words, *options])


def call(name: str, parsed: argparse.Namespace) -> int:
    """Run a command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    session = None
    try:
        session = Session(name, parsed)
        return _COMMANDS[name](session)
    except BrokenPipeError:
        # Nobody reads on, as after `| head`. Python would complain when it flushes the stream at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        if session is not None:
            session.terminal.end_typed_line()
            session.terminal.tell(session.leave)
        return exit_codes.INTERRUPTED
    except (UsageError, ValueError) as error:
        parsed.fail(str(error))
        return exit_codes.USAGE
    except (JobsError, OSError) as error:
        terminal = Terminal() if session is None else session.terminal
        terminal.tell(f"slimfaas-jobs: {_text_of(error)}")
        if session is not None and isinstance(error, WaitTimeoutError):
            terminal.tell(session.leave)
        return next((code for kind, code in _CODES if isinstance(error, kind)), exit_codes.UNREACHABLE)


def _text_of(error: Exception) -> str:
    if isinstance(error, RequestError) and error.status == 401:
        return f"{error} (--token-file, --token-command)"
    return str(error)


def _make_client(parsed: argparse.Namespace, retry_seconds: float, terminal: Terminal) -> Client:
    settings = ClientSettings.from_environment()
    url = parsed.server or settings.url
    if not url:
        raise UsageError("say where the service is: --server http://slimfaas:5000, or the variable SLIMFAAS_URL")
    token: Any = None
    # An option wins over each variable.
    if parsed.token_file:
        token = token_from_file(parsed.token_file)
    elif parsed.token_command:
        token = token_from_command(split_command(parsed.token_command))
    elif settings.token_file:
        token = token_from_file(settings.token_file)
    elif settings.token_command:
        token = token_from_command(settings.token_command)
    ca_file = parsed.ca_file or settings.ca_file
    try:
        return Client(url, token=token, ca_file=ca_file, retry_seconds=retry_seconds, on_retry=terminal.tell_retry)
    except OSError as error:
        raise UsageError(f"cannot read the authorities of {ca_file}: {error.strerror or error}") from error


def _run(session: Session) -> int:
    parsed, client, terminal = session.parsed, session.client, session.terminal
    if parsed.follow and parsed.output:
        raise UsageError("--follow prints the log: it can't be combined with -o")
    request = _read_request(parsed)
    if parsed.dry_run:
        terminal.print_json(client.dry_run(parsed.name, **request))
        return exit_codes.SUCCESS
    key = parsed.key or str(uuid.uuid4())
    session.leave = (
        f"The run may have been started. The same command with --key {key} gets it, and starts it if it was not."
    )
    started = _send(session, lambda: client.start(parsed.name, **request, idempotency_key=key))
    name = f"{started.definition}/{started.id}"
    if not parsed.wait and not parsed.follow:
        return _show_started(session, name, started.definition, started.id)
    _say_how_to_leave(session, name)
    if parsed.follow:
        terminal.tell(name)
    elif parsed.output != "json":
        terminal.print_text(name)
    try:
        if parsed.follow:
            _follow_if_any(session, started.definition, started.id)
        return _await_end(session, started.definition, started.id, shows=parsed.output)
    except NotFoundError as error:
        raise RunDeletedError(f"{name} was deleted before it ended") from error


def _send(session: Session, send: Callable[[], Result]) -> Result:
    """Send a request that makes something; says so if its outcome stays unknown."""
    try:
        return send()
    except (UnavailableError, UnreachableError) as error:
        if not isinstance(error, UnreachableError) or error.sent:
            session.terminal.tell(session.leave)
        raise
    except NotFoundError as error:
        detail = f"{error.detail}; {session.command('status')} lists those there are"
        raise NotFoundError(error.status, detail) from error


def _show_started(session: Session, name: str, definition: str, run_id: str) -> int:
    terminal = session.terminal
    session.leave = ""
    if session.parsed.output == "json":
        terminal.print_json(session.client.get(definition, run_id).document)
        return exit_codes.SUCCESS
    terminal.print_text(name)
    if session.parsed.output is None and terminal.shows_output:
        terminal.tell(f"Follow it: {session.command('logs', '-f', name)}")
    return exit_codes.SUCCESS


def _say_how_to_leave(session: Session, name: str) -> None:
    session.leave = (
        f"{name} goes on.\n"
        f"  wait for it  {session.command('wait', name)}\n"
        f"  cancel it    {session.command('cancel', name)}"
    )


def _read_request(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say of a request."""
    return {
        "args": parsed.args,
        "environment": _environment(parsed.env),
        "image": parsed.image,
        "fields": _read_body(parsed.body),
    }


def _environment(given: list[tuple[str, str | None]]) -> dict[str, str]:
    environment = {}
    for name, value in given:
        found = variable(name) if value is None else value
        if found is None:
            raise UsageError(f"--env {name}: there is no such variable here; give NAME=VALUE")
        environment[name] = found
    return environment


def _read_body(file: str | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            text = source.read(_MAX_BODY_BYTES + 1)
        body = json.loads(text) if len(text) <= _MAX_BODY_BYTES else None
    except OSError as error:
        raise UsageError(f"--body: cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--body: {file} is not JSON") from error
    if not isinstance(body, dict):
        raise UsageError(f"--body: {file} must be a JSON object of at most {_MAX_BODY_BYTES} bytes")
    return body


def _follow(session: Session, name: str, run_id: str) -> None:
    parsed = session.parsed
    pieces = session.client.follow_logs(
        name,
        run_id,
        attempt=getattr(parsed, "attempt", None),
        tail_lines=getattr(parsed, "tail", None),
        container=getattr(parsed, "container", None),
        timeout_seconds=session.seconds_left,
        on_update=session.terminal.tell_state,
        on_gap=session.terminal.tell,
        retry_seconds=session.wait_retry_seconds,
    )
    _print_log(session, pieces)


def _follow_if_any(session: Session, name: str, run_id: str) -> None:
    """Follow the log of a run that may end without one, as when its image can't be pulled."""
    try:
        _follow(session, name, run_id)
    except RefusedError as error:
        if error.status != _CONFLICT:
            raise
        session.terminal.tell(f"no log: {error}")


def _print_log(session: Session, pieces: Iterator[bytes]) -> None:
    """Print a log: byte for byte in a pipe, as harmless text in a terminal."""
    if session.terminal.shows_output:
        for text in visible_log(pieces):
            session.terminal.write(text)
    else:
        for piece in pieces:
            session.terminal.write_bytes(piece)


def _await_end(session: Session, name: str, run_id: str, *, shows: str | None) -> int:
    terminal = session.terminal
    run = session.client.wait(
        name,
        run_id,
        timeout_seconds=session.seconds_left,
        on_update=terminal.tell_state,
        retry_seconds=session.wait_retry_seconds,
    )
    terminal.settle()
    session.leave = ""
    if shows == "json":
        terminal.print_json(run.document)
    if run.has_succeeded:
        return exit_codes.SUCCESS
    return run.exit_code if 0 < run.exit_code < 256 else exit_codes.FAILED


def _wait(session: Session) -> int:
    name, run_id = session.run_id()
    _say_how_to_leave(session, f"{name}/{run_id}")
    if session.parsed.output == "name":
        session.terminal.print_text(f"{name}/{run_id}")
    return _await_end(session, name, run_id, shows=session.parsed.output)


def _logs(session: Session) -> int:
    parsed = session.parsed
    name, run_id = session.run_id()
    if parsed.follow:
        if parsed.since is not None:
            raise UsageError("--since can't be combined with -f; --tail can")
        _say_how_to_leave(session, f"{name}/{run_id}")
        _follow(session, name, run_id)
        return exit_codes.SUCCESS
    pieces = session.client.logs(
        name,
        run_id,
        tail_lines=parsed.tail,
        since_seconds=parsed.since,
        attempt=parsed.attempt,
        container=parsed.container,
    )
    _print_log(session, pieces)
    return exit_codes.SUCCESS


def _get(session: Session) -> int:
    terminal, output = session.terminal, session.parsed.output
    run = session.client.get(*session.run_id())
    if output == "json":
        terminal.print_json(run.document)
    elif output == "name":
        terminal.print_text(_name_of(run))
    else:
        terminal.print_fields(_fields(run))
    return exit_codes.SUCCESS


def _fields(run: Run) -> list[tuple[str, str]]:
    """Return what `get` shows: names and values, without those that say nothing."""
    lists = {
        "Arguments": None if run.args is None else shlex.join(run.args),
        "Depends on": ", ".join(run.depends_on or ()),
        "Variables": ", ".join(run.environments or ()),
    }
    fields = [
        ("Run", _name_of(run)),
        ("Status", run.status),
        ("Reason", run.reason),
        ("Message", run.message),
        ("Position", str(run.position_in_queue) if run.position_in_queue > 0 else ""),
        ("Accepted", _moment(run.in_queue_timestamp)),
        ("Started", _moment(run.start_timestamp)),
        ("Ended", _moment(run.end_timestamp)),
        ("Waited", duration(run.queue_duration_milliseconds)),
        ("Ran", duration(run.run_duration_milliseconds)),
        ("Attempts", str(run.attempts) if run.attempts else ""),
        ("Exit code", str(run.exit_code) if run.exit_code >= 0 else ""),
        ("Result", run.result),
        ("Image", run.image),
        *((name, value or "") for name, value in lists.items()),
        ("Started by", run.started_by),
        ("Notification", run.notification),
        ("Job", run.name),
    ]
    return [(name, value) for name, value in fields if value]


def _moment(milliseconds: int) -> str:
    if milliseconds < 0:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(milliseconds / 1000))


def _name_of(run: Run) -> str:
    return f"{run.definition}/{run.id}"


def _list(session: Session) -> int:
    parsed, client = session.parsed, session.client
    since = None
    if parsed.finished_since is not None:
        since = datetime.fromtimestamp(max(0, int(time.time()) - parsed.finished_since), UTC)
    runs: list[Run] = []
    for name in _names(session):
        with _skipping(session, name):
            runs.extend(client.list_runs(name, status=parsed.status, limit=parsed.limit, finished_since=since))
    if parsed.output == "json":
        session.terminal.print_json([run.document for run in runs])
    elif parsed.output == "name":
        for run in runs:
            session.terminal.print_text(_name_of(run))
    elif runs:
        rows = [_row(run, int(time.time() * 1000)) for run in runs]
        session.terminal.print_table(("RUN", "STATUS", "AGE", "RAN", "WHY"), rows)
    else:
        session.terminal.tell("There are no runs.")
    return exit_codes.SUCCESS


def _names(session: Session) -> list[str]:
    """Return the definition that the arguments name, or all."""
    given = session.parsed.name
    return [given] if given else [definition.name for definition in session.client.status()]


@contextmanager
def _skipping(session: Session, name: str) -> Iterator[None]:
    """Go on with the other definitions when this one may not be listed, unless the arguments name it."""
    try:
        yield
    except (RefusedError, NotFoundError) as error:
        if session.parsed.name or error.status == _BAD_REQUEST:
            raise
        session.terminal.tell(f"{name}: {error}")


def _row(run: Run, now: int) -> tuple[str, str, str, str, str]:
    # The clock of this machine may be behind the cluster's.
    ran = run.run_duration_milliseconds
    if ran < 0 <= run.start_timestamp:
        ran = max(0, now - run.start_timestamp)
    age = duration(max(0, now - run.in_queue_timestamp)) if run.in_queue_timestamp >= 0 else ""
    place = f"#{run.position_in_queue} " if run.position_in_queue > 0 else ""
    return _name_of(run), run.status, age, duration(ran), place + (run.message or run.reason)


def _cancel(session: Session) -> int:
    parsed, client, terminal = session.parsed, session.client, session.terminal
    if parsed.queued:
        if len(parsed.run_id) != 1 or "/" in parsed.run_id[0]:
            raise UsageError("--queued takes one definition")
        (name,) = parsed.run_id
        deleted, remaining = 0, 1
        while remaining:
            emptied = client.empty_queue(name)
            deleted, remaining = deleted + emptied.deleted, emptied.remaining
        terminal.print_text(f"{name}: {deleted} queued {'run' if deleted == 1 else 'runs'} deleted")
        return exit_codes.SUCCESS
    code = exit_codes.SUCCESS
    for name, run_id in session.run_ids():
        try:
            run = client.cancel(name, run_id)
        except NotFoundError as error:
            terminal.tell(f"slimfaas-jobs: {name}/{run_id}: {error}")
            code = exit_codes.NOT_FOUND
            continue
        terminal.print_text(f"{name}/{run_id} {'removed' if run is not None and run.has_ended else 'cancelled'}")
    return code


def _schedules(session: Session) -> int:
    parsed = session.parsed
    if parsed.add is not None:
        return _add_schedule(session)
    given = ("args", "env", "image", "body", "key", "time_zone")
    if any(getattr(parsed, name) for name in given):
        raise UsageError("options of a request need --add CRON")
    if parsed.suspend or parsed.resume or parsed.delete:
        return _change_schedule(session)
    return _list_schedules(session)


def _add_schedule(session: Session) -> int:
    parsed = session.parsed
    if not parsed.name:
        raise UsageError("--add needs the definition")
    key = parsed.key or str(uuid.uuid4())
    session.leave = f"The schedule may have been made. The same command with --key {key} gets it."
    request = _read_request(parsed)
    client = session.client
    made = _send(
        session,
        lambda: client.add_schedule(
            parsed.name, parsed.add, time_zone=parsed.time_zone, **request, idempotency_key=key
        ),
    )
    if parsed.output == "json":
        session.terminal.print_json({"Id": made})
    else:
        session.terminal.print_text(f"{parsed.name}/{made}")
    return exit_codes.SUCCESS


def _change_schedule(session: Session) -> int:
    parsed = session.parsed
    name, slash, schedule_id = (parsed.name or "").partition("/")
    if not slash:
        raise UsageError("name one schedule as NAME/ID")
    if parsed.delete:
        session.client.delete_schedule(name, schedule_id)
        session.terminal.print_text(f"{name}/{schedule_id} deleted")
        return exit_codes.SUCCESS
    changed = session.client.suspend_schedule(name, schedule_id, suspend=parsed.suspend)
    session.terminal.print_text(f"{name}/{schedule_id} {'suspended' if changed.suspend else 'resumed'}")
    return exit_codes.SUCCESS


def _list_schedules(session: Session) -> int:
    parsed, terminal = session.parsed, session.terminal
    found: list[Schedule] = []
    for name in _names(session):
        with _skipping(session, name):
            found.extend(session.client.schedules(name))
    if parsed.output == "json":
        terminal.print_json([one.document for one in found])
    elif parsed.output == "name":
        for one in found:
            terminal.print_text(f"{one.name}/{one.id}")
    elif found:
        rows = [_schedule_row(one) for one in found]
        terminal.print_table(("SCHEDULE", "CRON", "TIME ZONE", "STATUS", "NEXT", "ARGUMENTS"), rows)
    else:
        terminal.tell("There are no schedules.")
    return exit_codes.SUCCESS


def _schedule_row(one: Schedule) -> tuple[str, ...]:
    arguments = "" if one.args is None else shlex.join(one.args)
    return (
        f"{one.name}/{one.id}",
        one.schedule,
        one.time_zone,
        one.status,
        _moment(one.next_timestamp),
        one.message or arguments,
    )


def _status(session: Session) -> int:
    parsed, terminal = session.parsed, session.terminal
    definitions = [one for one in session.client.status() if parsed.name in (None, one.name)]
    if parsed.name and not definitions:
        raise NotFoundError(404, f"there is no definition {parsed.name} that you may use")
    if parsed.output == "json":
        terminal.print_json([one.document for one in definitions])
    elif parsed.output == "name":
        for one in definitions:
            terminal.print_text(one.name)
    elif definitions:
        rows = [_definition_row(one) for one in definitions]
        terminal.print_table(("DEFINITION", "VISIBILITY", "SLOTS", "QUEUED", "DEPENDENCIES"), rows)
    else:
        terminal.tell("There are no definitions that you may use.")
    return exit_codes.SUCCESS


def _definition_row(one: Definition) -> tuple[str, str, str, str, str]:
    queued = "" if one.queue_length is None else str(one.queue_length)
    dependencies = ", ".join(
        f"{dependency.name} {'ready' if dependency.ready else f'({dependency.message})'}"
        for dependency in one.depends_on
    )
    return one.name, one.visibility, f"{one.active_runs}/{one.number_parallel_job}", queued, dependencies


_COMMANDS: dict[str, Callable[[Session], int]] = {
    "run": _run,
    "list": _list,
    "get": _get,
    "logs": _logs,
    "wait": _wait,
    "cancel": _cancel,
    "schedules": _schedules,
    "status": _status,
}
