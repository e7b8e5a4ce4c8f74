"""Request ids: the caller's if well-formed, in the response, the log and the run's annotations."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client

from app.api.request_ids import read_request_id
from app.telemetry.logs import request_id
from tests.http.clients import Caller, RawClient, check_problem
from tests.support.service import ServiceProcess

ID = "3f2b8c1e-77aa-4c53-9c3e-0d7d5f6a9b10"


def annotations_of(batch: client.BatchV1Api, namespace: str) -> list[dict[str, str]]:
    items: Any = batch.list_namespaced_job(namespace).items
    return [job.metadata.annotations for job in items]


class RequestIdRecorder(logging.Handler):
    """Records the request id of each log line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record a line."""
        self.lines.append((record.name, request_id.get()))


@pytest.fixture
def recorder() -> Any:
    """Record the log lines of the application."""
    found, log = RequestIdRecorder(), logging.getLogger("app")
    level = log.level
    log.addHandler(found)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(found)
    log.setLevel(level)


def test_request_id__is_in_the_response_the_log_and_the_run(
    caller: Caller, batch: client.BatchV1Api, namespace: str, recorder: RequestIdRecorder
) -> None:
    response = caller.post("/job/public", headers={"X-Request-Id": ID})
    assert response.status_code == 202
    assert response.headers.getlist("X-Request-Id") == [ID]
    assert [one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)] == [ID]
    assert recorder.lines == [("app.api.access_log", ID)]
    response.close()
    assert request_id.get() == ""


def test_request_id__is_new_for_each_request_without_one(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    responses = [caller.post("/job/public"), caller.post("/job/public"), caller.get("/nowhere"), caller.get("/health")]
    check_problem(responses[2], 404)
    ids = [response.headers["X-Request-Id"] for response in responses]
    assert len(set(ids)) == 4
    assert sorted(one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)) == sorted(ids[:2])


def test_request_id__of_the_run_is_kept_by_a_replay(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    for number in (1, 2):
        response = caller.post("/job/public", headers={"X-Request-Id": f"call-{number}", "Idempotency-Key": "same"})
        assert response.headers["X-Request-Id"] == f"call-{number}"
    assert [one["slimfaas.dev/request-id"] for one in annotations_of(batch, namespace)] == ["call-1"]


@given(st.text())
def test_read_request_id__returns_only_harmless_ids(text: str) -> None:
    """No id has a character that is special to a log, a header or a terminal."""
    kept = read_request_id(text)
    assert kept.isascii()
    assert 1 <= len(kept) <= 128
    assert not set(kept) & set(" \r\n\t\0\x1b\"'\\,;<>$`|&")


@pytest.mark.parametrize("hostile", ["a\tb", "a b", "{}", "a" * 129, "$(id)", "\u00e9", "", "a, b", "-a", "\x1b[2J"])
def test_request_id__is_replaced_if_malformed(live: ServiceProcess, hostile: str) -> None:
    with RawClient(live.port) as connection:
        response = connection.send_request("GET", "/health", f"X-Request-Id: {hostile}").answer()
        headers = response.headers.get_all("X-Request-Id") or []
        if response.status == 200:  # otherwise gunicorn has refused the header
            assert len(headers) == 1
            assert headers[0] != hostile
            assert len(headers[0]) == 32


def test_request_id__is_replaced_if_sent_twice(live: ServiceProcess) -> None:
    with RawClient(live.port) as connection:
        response = connection.send_request("GET", "/health", "X-Request-Id: a", "X-Request-Id: b").answer()
        (found,) = response.headers.get_all("X-Request-Id") or []
        assert found not in ("a", "b", "a,b", "a, b")
