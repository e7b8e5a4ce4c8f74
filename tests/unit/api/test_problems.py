"""Every exception becomes one and the same shape of answer, and tells strangers nothing that isn't theirs."""

import json
from http import HTTPStatus

import pytest
from flask import Flask, abort
from werkzeug.exceptions import default_exceptions

from app.api.problems import answer_with_problems, problem_of, reason_of
from app.auth.authorizer import NotTrustedError
from app.common.concurrency_limiter import BusyError
from app.definitions.registry import UnknownDefinitionError
from app.kube.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    QuotaError,
    ThrottledError,
    UnavailableError,
    UnreachableError,
    error_of,
)
from app.runs.create import CreateFailedError, KeyReusedError, KeyTakenError
from app.runs.limits.queue_limiter import QueueFullError, QueueUnknownError
from app.runs.reader import UnknownRunError
from schemas.documents import NotJson
from schemas.faults import Fault, Refused
from tests.http.clients import check_problem

# RFC 9110, section 15; what Python says depends on its version.
TITLES = {414: "URI Too Long", 413: "Content Too Large", 422: "Unprocessable Content"}


@pytest.mark.parametrize("status", sorted(default_exceptions))
def test_every_status_has_the_one_shape(status: int) -> None:
    """Also those that only Flask and werkzeug raise."""
    app = Flask("errors")
    answer_with_problems(app)
    app.add_url_rule("/", view_func=lambda: abort(status))

    document = check_problem(app.test_client().get("/"), status)
    assert document["type"] == "about:blank"
    assert document["title"] == TITLES.get(status, HTTPStatus(status).phrase)
    assert "errors" not in document


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotJson("no"), 400),
        (NotTrustedError("private"), 403),
        (UnknownDefinitionError("x"), 404),
        (UnknownRunError("x"), 404),
        (Refused([Fault("/Image", "no")]), 422),
        (InvalidError("no"), 422),
        (RuntimeError("boom"), 500),
        (BusyError("no place"), 503),
        (CreateFailedError(UnavailableError("away"), in_doubt=True), 503),
        (QueueUnknownError("x"), 503),
        (QueueFullError("x", 7, 4), 429),
        (QueueFullError(None, 7, 4), 429),
        (CreateFailedError(QuotaError("secret words"), in_doubt=False), 429),
        (KeyReusedError("x"), 422),
        (KeyTakenError("x"), 409),
        *((kind("secret words"), 503) for kind in (ClusterError, NotFoundError, AlreadyExistsError, ConflictError)),
        *((kind("secret words"), 503) for kind in (ExpiredError, ForbiddenError, ThrottledError, UnavailableError)),
        (UnreachableError("secret words"), 503),
    ],
)
def test_each_of_our_errors_has_its_status(error: Exception, status: int) -> None:
    """The table of the HTTP reference; what may pass by itself says when to try again."""
    problem = problem_of(error)
    assert problem.status == status
    assert ("Retry-After" in problem.headers) == (status in (429, 503))
    assert (reason_of(error) == "Defect") == (status == 500)
    assert "secret words" not in str(problem.document())


@pytest.mark.parametrize(("in_doubt", "words"), [(True, "may or may not have been stored"), (False, "has not been")])
def test_a_failed_call_hears_whether_its_run_can_be_stored_all_the_same(in_doubt: bool, words: str) -> None:
    """Whoever repeats a call has to know whether that could start a second run."""
    assert words in problem_of(CreateFailedError(ThrottledError("busy"), in_doubt=in_doubt)).detail


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('jobs.batch "x" is forbidden: exceeded quota: compute, used: count/jobs.batch=5', "a quota of the namespace"),
        ('admission webhook "policy.example" denied the request: no', "an admission policy"),
        ("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "an admission policy"),
        ('jobs.batch is forbidden: User "system:serviceaccount:secret:words" cannot create', "can't do this now"),
    ],
)
def test_a_refused_run_hears_what_kind_of_rule_refuses_it_and_no_more(message: str, words: str) -> None:
    """The API server's own words name accounts, quotas and hooks: they are for the log."""
    status = json.dumps({"kind": "Status", "reason": "Forbidden", "message": message}).encode()
    detail = problem_of(CreateFailedError(error_of(403, status), in_doubt=False)).detail
    assert words in detail
    assert "has not been stored" in detail
    assert not any(word in detail for word in ("compute", "policy.example", "system:"))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, "2"), ("1", "2"), ("17", "17"), ("99999", "30"), ("-1", "2"), ("soon", "2"), ("٣", "2"), ("9" * 99, "2")],
)
def test_what_the_api_server_asks_for_is_passed_on_within_bounds(header: str | None, seconds: str) -> None:
    """Whatever stands in the header, a proxy's included."""
    error = error_of(429, b"", header)
    assert problem_of(CreateFailedError(error, in_doubt=False)).headers["Retry-After"] == seconds


def test_each_fault_of_a_request_is_listed_with_its_pointer() -> None:
    """In the order in which they were found."""
    faults = [Fault("/Image", "not allowed"), Fault("", "odd")]
    assert problem_of(Refused(faults)).document()["errors"] == [
        {"pointer": "/Image", "message": "not allowed"},
        {"pointer": "", "message": "odd"},
    ]


def test_each_cause_that_kubernetes_gives_is_listed_with_a_pointer_into_the_job() -> None:
    """`a.b[0].c` is `/a/b/0/c`."""
    error = InvalidError("Job is invalid", (("spec.template.spec.containers[0].image", "Required value"), ("", "odd")))
    document = problem_of(error).document()
    assert document["detail"] == "Kubernetes does not accept this run"
    assert document["errors"] == [
        {"pointer": "/spec/template/spec/containers/0/image", "message": "Required value"},
        {"pointer": "", "message": "odd"},
    ]


def test_without_causes_the_reason_of_kubernetes_stands_in_the_detail() -> None:
    """An admission policy says no in a message alone."""
    assert problem_of(InvalidError("no runs on Sundays")).detail.endswith(": no runs on Sundays")


def test_an_error_that_nobody_foresaw_tells_the_caller_nothing_and_the_log_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its trace is what somebody will need."""
    app = Flask("errors")
    answer_with_problems(app)

    @app.get("/")
    def fail() -> str:
        raise RuntimeError("the-value-of-a-variable")

    document = check_problem(app.test_client().get("/"), 500)
    assert "log" in document["detail"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


@pytest.mark.parametrize("status", [403, 404, 409, 422, 500])
def test_what_the_api_server_says_is_one_line(status: int) -> None:
    """It may quote what a caller wrote, and goes to the log, where a line is a message."""
    message = "denied:\n * a\r\n2026-11-24 INFO forged\u2028x\x85y\x1b[2Jz"
    error = error_of(status, json.dumps({"kind": "Status", "message": message}).encode())
    assert str(error) == "denied: * a 2026-11-24 INFO forged x y?[2Jz"
