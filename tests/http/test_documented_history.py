"""The recipes of docs/operations.md for a longer history, and the programs of docs/notifications.md, word for word."""

import base64
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from app.dispatcher.end_reporter import _log
from app.domain.run_end import RunEnd
from app.notifications.sender import NotificationSender
from app.telemetry.logs import JsonFormatter
from schemas.configuration import parse_configuration
from schemas.notify import Notify, build_notify
from tests.support.ports import find_free_port
from tests.support.receivers import Receiver, Reply
from tests.support.waiting import DEADLINE_SECONDS, until
from tests.unit.dispatcher.runs import make_run
from tests.unit.notifications.test_event import RUN, VIEW, build_event_request
from tests.unit.notifications.test_sender import make_sender

DOCS = Path(__file__).parents[2] / "docs"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def blocks(page: str, language: str) -> list[str]:
    text = re.sub(r"^ {3}", "", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@contextmanager
def running(program: str, **environment: str) -> Iterator[None]:
    """Run a Python program of a page."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **environment}, stdout=subprocess.PIPE
    )
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def is_accepted(sender: NotificationSender, notify: Notify) -> bool:
    try:
        sender.send(notify, build_event_request(RUN, VIEW, "shop", "Structured"))
    except Exception:
        return False  # it does not listen yet
    return True


def test_documented_table__has_each_end_once(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("operations.md", "python") if "sqlite3" in block]
    (query,) = blocks("operations.md", "sql")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "fib").write_text(SECRET)
    port, file = find_free_port(), tmp_path / "ends.db"
    sender = make_sender(tmp_path)
    notify = Notify(f"http://127.0.0.1:{port}/", frozenset({"failed"}), ("hooks", "fib"))
    with running(program, SECRET=SECRET, FILE=str(file), PORT=str(port)):
        until(lambda: is_accepted(sender, notify))
        assert is_accepted(sender, notify)
        (tmp_path / "hooks" / "fib").write_text("whsec_" + base64.b64encode(b"x" * 32).decode())
        assert not is_accepted(sender, notify)
    with sqlite3.connect(file) as ends:
        assert ends.execute("SELECT id, source, outcome FROM ends").fetchall() == [
            ("5f1b-ended", "/namespaces/shop/job/fib", "failed")
        ]
        assert json.loads(ends.execute("SELECT run FROM ends").fetchone()[0]) == VIEW
        since = query.replace("'now', '-1 day'", "'2020-01-01'")  # the example's end is longer ago
        assert ends.execute(since).fetchall() == [("/namespaces/shop/job/fib", "failed", 1)]
    ends.close()


def test_documented_broker__takes_the_event() -> None:
    (text,) = [block for block in blocks("operations.md", "json") if '"Notify"' in block]
    notify = build_notify(json.loads(f"{{{text}}}")["Notify"])
    with Receiver(lambda _: Reply(202)) as broker:
        assert is_accepted(make_sender(Path("/")), replace(notify, url=broker.url))
        [got] = broker.received
    assert from_http_event(HTTPMessage(dict(got.headers), got.body)).get_type() == "dev.slimfaas.run.failed"


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="needs jq and curl")
def test_documented_push__of_the_log_to_loki(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Push what Loki takes (https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs)."""
    (command,) = [block for block in blocks("operations.md", "sh") if "loki/api" in block]
    caplog.set_level(logging.INFO)
    _log(make_run(7, definition="fib"), RunEnd("failed", "BackoffLimitExceeded", started_by="jane"), 3)
    logging.getLogger("app.other").info("something else")
    lines = [JsonFormatter().format(record) for record in caplog.records]
    log = tmp_path / "log"
    log.write_text("\n".join(lines) + "\n", "utf-8")
    with Receiver() as loki:
        command = command.replace("http://loki:3100", loki.url.partition("/ends")[0])
        command = re.sub(r"^kubectl [^|]*\|", f"cat {log} |", command)
        subprocess.run(["bash", "-c", command], check=True, timeout=DEADLINE_SECONDS)
        [got] = loki.received
    assert (got.path, got.headers["content-type"]) == ("/loki/api/v1/push", "application/json")
    [stream] = json.loads(got.body)["streams"]
    assert stream["stream"] == {"job": "slimfaas-jobs", "definition": "fib", "outcome": "failed"}
    [[at, line]] = stream["values"]
    assert at[:-9].isdigit()
    assert json.loads(line)["exit_code"] == 3


def test_documented_receiver__accepts_what_its_definition_sends(tmp_path: Path) -> None:
    [program, verifying] = blocks("notifications.md", "python")
    document, event, signed = blocks("notifications.md", "json")
    notify = parse_configuration(document)["fibonacci"].notify
    assert notify is not None
    port = find_free_port()
    assert "8099" in program
    with running(program.replace("8099", str(port))):
        until(lambda: is_accepted(make_sender(tmp_path), replace(notify, url=notify.url.replace("8099", str(port)))))
    sent = json.loads(build_event_request(RUN, VIEW, "shop", "Structured").body)
    assert json.loads(event).keys() == sent.keys()
    assert "Notify" in json.loads(f"{{{signed}}}")
    with Receiver() as receiver:
        (tmp_path / "hooks").mkdir()
        (tmp_path / "hooks" / "fib").write_text(SECRET)
        assert is_accepted(make_sender(tmp_path), Notify(receiver.url, notify.on, ("hooks", "fib")))
        [got] = receiver.received
    names = {"secret": SECRET, "body": got.body, "headers": dict(got.headers)}
    exec(verifying, names)  # the page's own lines
    assert names["run"]["data"] == VIEW  # type: ignore[index]
