"""The id of a call: the caller's where it is well-formed, in the answer, the log and the run's annotations."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client

from app.api.request_ids import read_request_id
from app.telemetry.logs import request_id
from tests.http.clients import Caller, Wire, check_problem
from tests.support.service import ServiceProcess

ID = "3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10"


def annotations_of(batch: client.BatchV1Api, namespace: str) -> list[dict[str, str]]:
    items: Any = batch.list_namespaced_job(namespace).items
    return [job.metadata.annotations for job in items]


class Listener(logging.Handler):
    """Keeps the request id that each line is said with."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        self.heard.append((record.name, request_id.get()))


@pytest.fixture
def listener() -> Any:
    """Listens to what the application says."""
    found, log = Listener(), logging.getLogger("app")
    level = log.level
    log.addHandler(found)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(found)
    log.setLevel(level)


def test_the_callers_id_is_answered_logged_and_kept_on_the_run(
    caller: Caller, batch: client.BatchV1Api, namespace: str, listener: Listener
) -> None:
    """From any of the three one finds the others."""
    answer = caller.post("/job/public", headers={"X-Request-Id": ID})
    assert answer.status_code == 202
    assert answer.headers.getlist("X-Request-Id") == [ID]
    assert [one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)] == [ID]
    assert listener.heard == [("app.api.access_log", ID)]
    answer.close()
    assert request_id.get() == ""


def test_a_call_without_one_gets_a_new_one(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """Each its own, errors included."""
    answers = [caller.post("/job/public"), caller.post("/job/public"), caller.get("/nowhere"), caller.get("/health")]
    check_problem(answers[2], 404)
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == 4
    assert sorted(one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)) == sorted(ids[:2])


def test_a_replay_leaves_the_run_the_id_of_the_first_call(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """It is that call's run."""
    for number in (1, 2):
        answer = caller.post("/job/public", headers={"X-Request-Id": f"call-{number}", "Idempotency-Key": "same"})
        assert answer.headers["X-Request-Id"] == f"call-{number}"
    assert [one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)] == ["call-1"]


@given(st.text())
def test_what_is_not_well_formed_is_replaced(text: str) -> None:
    """What is kept is short, and means nothing to a log, a header or a terminal."""
    kept = read_request_id(text)
    assert kept.isascii()
    assert 1 <= len(kept) <= 128
    assert not set(kept) & set(" \r\n\t\0\x1b\"'\\,;<>$`|&")


@pytest.mark.parametrize("hostile", ["a\tb", "a b", "{}", "a" * 129, "$(id)", "\u00e9", "", "a, b", "-a", "\x1b[2J"])
def test_hostile_ids_are_replaced_on_the_wire(live: ServiceProcess, hostile: str) -> None:
    """One new header, and nothing else."""
    with Wire(live.port) as wire:
        answer = wire.send_request("GET", "/health", f"X-Request-Id: {hostile}").answer()
        headers = answer.headers.get_all("X-Request-Id") or []
        if answer.status == 200:  # else gunicorn has refused the header as it stands
            assert len(headers) == 1
            assert headers[0] != hostile
            assert len(headers[0]) == 32


def test_two_ids_are_none(live: ServiceProcess) -> None:
    """Nobody could say which one counts."""
    with Wire(live.port) as wire:
        answer = wire.send_request("GET", "/health", "X-Request-Id: a", "X-Request-Id: b").answer()
        (found,) = answer.headers.get_all("X-Request-Id") or []
        assert found not in ("a", "b", "a,b", "a, b")
