"""The log of the service, its command line and gunicorn: lines as text or as JSON, and how they are written."""

import json
import logging
import logging.config
import re
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from app.telemetry.log_writer import LogWriter

Format = Literal["text", "json"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the present thread answers; empty: it answers none."""

log = logging.getLogger(__name__)

# What the errors of HTTP libraries quote: a header that can't be sent, and credentials with their scheme.
_SECRET = re.compile(r"(Invalid header (?:value|name) ).*|\b((?:bearer|basic) )(?=\S*\d)[\w.~+/=-]{12,}", re.IGNORECASE)


_MAX_LENGTH = 32 * 1024
"""The most characters of a message, a field or a trace that are written. A message may quote what others have written
into the cluster, such as the holder of a Lease, which may be a MiB."""


class TextFormatter(logging.Formatter):
    """Formats lines for people, with the request id at the end if there is one.

    A record is one line, whatever its message contains: everything that is not printable is escaped, line breaks and
    terminal sequences included. A trace follows in indented lines, so none of them can pass for a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format the line with its trace."""
        return _without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Format the line without its trace."""
        line = _cut(super().formatMessage(record))
        known = request_id.get()
        return _escape(f"{line} request-id={known}" if known else line)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """Format the trace, indented."""
        return _indent(_cut(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the library's name
        """Format the stack, indented."""
        return _indent(super().formatStack(stack_info))


def _escape(line: str) -> str:
    """Write every character that is not printable as Python does in `repr`; all others stay."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in line)


def _indent(lines: str) -> str:
    return "\n".join(f"    {_escape(line)}" for line in lines.split("\n"))


class JsonFormatter(logging.Formatter):
    """Formats each record as a JSON object on one line, whatever the message contains.

    Its keys are `time` (RFC 3339 in UTC), `level`, `logger`, `message`, `process`, `thread`, and where there are any
    `request_id`, `exception` (the trace) and what `extra={"fields": {...}}` of the call to the logger adds.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format the line. This never fails: a lost line may be the one that an operator needs."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _without_secrets(_cut(_message_of(record))),
            "process": record.process,
            "thread": record.threadName,
        }
        if known := request_id.get():
            fields["request_id"] = known
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = _without_secrets(_cut("".join(traceback.format_exception(*record.exc_info))))
        for name, value in getattr(record, "fields", {}).items():
            fields.setdefault(name, _cut(value) if isinstance(value, str) else value)
        # Everything that is not ASCII is escaped. Lone surrogates, which some readers refuse, are replaced by `?`.
        return json.dumps(_without_surrogates(fields), default=str)


def _cut(text: str) -> str:
    """Cut a text to `_MAX_LENGTH`, and say how much is left out."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]} … {len(text) - _MAX_LENGTH} characters left out"


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments don't fit the message: a defect, but the text is useful
        return str(record.msg)


def _without_secrets(text: str) -> str:
    """Cut header values and credentials from a message or a trace."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}(not shown)", text)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(str(name)): _without_surrogates(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(one) for one in value]
    return value if value is None or isinstance(value, bool | int) else _without_surrogates(str(value))


def configuration_of_logs(form: Format, level: str) -> dict[str, Any]:
    """Build the argument of `logging.config.dictConfig`, and of gunicorn's `logconfig_dict`.

    Args:
        form: of the lines.
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`. `DEBUG` applies to our own lines only: libraries would log
            responses of the API server.
    """
    others = "INFO" if level == "DEBUG" else level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter if form == "json" else TextFormatter}},
        "handlers": {
            "stderr": {"()": LogWriter, "formatter": "line"},
        },
        "root": {"level": others, "handlers": ["stderr"]},
        "loggers": {
            "app": {"level": level},
            "gunicorn.error": {"level": others, "handlers": [], "propagate": True},
        },
    }


def set_up_logs(form: Format, level: str) -> dict[str, Any]:
    """Set up the log of this process, including warnings and failed threads; returns the configuration."""
    configuration = configuration_of_logs(form, level)
    logging.config.dictConfig(configuration)
    logging.captureWarnings(True)
    threading.excepthook = _log_end
    return configuration


def start_log_writer() -> None:
    """Have a thread of its own write the log. Call this after the last fork."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogWriter):
            handler.start()


def _log_end(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        name = ended.thread.name if ended.thread else "?"
        trace = None if ended.exc_value is None else (ended.exc_type, ended.exc_value, ended.exc_traceback)
        log.error("the thread %s has ended", name, exc_info=trace)
