"""Every exception becomes a problem document, which reveals nothing that the caller may not know."""

import json
from http import HTTPStatus

import pytest
from flask import Flask, abort
from werkzeug.exceptions import default_exceptions

from app.api.problems import problem_of, reason_of, register_problem_handler
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
from app.runs.limits.queue_counter import QueueFull
from app.runs.limits.queue_limiter import QueueFullError, QueueUnknownError
from app.runs.reader import UnknownRunError
from app.runs.submit import TemplateRefusedError
from schemas.documents import NotJson
from schemas.faults import Fault, Refused
from tests.http.clients import check_problem

# RFC 9110, section 15; the phrases in Python depend on its version.
TITLES = {414: "URI Too Long", 413: "Content Too Large", 422: "Unprocessable Content"}


@pytest.mark.parametrize("status", sorted(default_exceptions))
def test_problem__has_the_same_shape_for_every_status(status: int) -> None:
    """Also for errors that only Flask and werkzeug raise."""
    app = Flask("errors")
    register_problem_handler(app)
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
        (QueueFullError(QueueFull("x", 7, 4)), 429),
        (QueueFullError(QueueFull(None, 7, 4)), 429),
        (CreateFailedError(QuotaError("secret words"), in_doubt=False), 429),
        (KeyReusedError("x"), 422),
        (KeyTakenError("x"), 409),
        (TemplateRefusedError("secret words"), 409),
        *((kind("secret words"), 503) for kind in (ClusterError, NotFoundError, AlreadyExistsError, ConflictError)),
        *((kind("secret words"), 503) for kind in (ExpiredError, ForbiddenError, ThrottledError, UnavailableError)),
        (UnreachableError("secret words"), 503),
    ],
)
def test_problem_of__maps_each_error_to_its_status(error: Exception, status: int) -> None:
    """Errors that may pass have `Retry-After`."""
    problem = problem_of(error)
    assert problem.status == status
    assert ("Retry-After" in problem.headers) == (status in (429, 503))
    assert (reason_of(error) == "Defect") == (status == 500)
    assert "secret words" not in str(problem.document())


@pytest.mark.parametrize(("in_doubt", "words"), [(True, "may or may not have been stored"), (False, "has not been")])
def test_problem_of__says_whether_the_run_may_be_stored(in_doubt: bool, words: str) -> None:
    """A caller must know whether a retry could start a second run."""
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
def test_problem_of__names_only_the_kind_of_rule_that_refuses_a_run(message: str, words: str) -> None:
    """The API server's message names accounts, quotas and hooks: it is for the log."""
    status = json.dumps({"kind": "Status", "reason": "Forbidden", "message": message}).encode()
    detail = problem_of(CreateFailedError(error_of(403, status), in_doubt=False)).detail
    assert words in detail
    assert "has not been stored" in detail
    assert not any(word in detail for word in ("compute", "policy.example", "system:"))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, "2"), ("1", "2"), ("17", "17"), ("99999", "30"), ("-1", "2"), ("soon", "2"), ("٣", "2"), ("9" * 99, "2")],
)
def test_problem_of__limits_the_retry_after_of_the_api_server(header: str | None, seconds: str) -> None:
    error = error_of(429, b"", header)
    assert problem_of(CreateFailedError(error, in_doubt=False)).headers["Retry-After"] == seconds


def test_problem_of__lists_each_fault_with_its_pointer() -> None:
    faults = [Fault("/Image", "not allowed"), Fault("", "odd")]
    assert problem_of(Refused(faults)).document()["errors"] == [
        {"pointer": "/Image", "message": "not allowed"},
        {"pointer": "", "message": "odd"},
    ]


def test_problem_of__lists_the_causes_of_kubernetes_with_pointers_into_the_job() -> None:
    """`a.b[0].c` becomes `/a/b/0/c`."""
    error = InvalidError("Job is invalid", (("spec.template.spec.containers[0].image", "Required value"), ("", "odd")))
    document = problem_of(error).document()
    assert document["detail"] == "Kubernetes does not accept this run"
    assert document["errors"] == [
        {"pointer": "/spec/template/spec/containers/0/image", "message": "Required value"},
        {"pointer": "", "message": "odd"},
    ]


def test_problem_of__has_the_message_of_kubernetes_if_there_are_no_causes() -> None:
    """An admission policy gives only a message."""
    assert problem_of(InvalidError("no runs on Sundays")).detail.endswith(": no runs on Sundays")


def test_problem__of_an_unexpected_error_is_explained_only_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Flask("errors")
    register_problem_handler(app)

    @app.get("/")
    def fail() -> str:
        raise RuntimeError("the-value-of-a-variable")

    document = check_problem(app.test_client().get("/"), 500)
    assert "log" in document["detail"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


@pytest.mark.parametrize("status", [403, 404, 409, 422, 500])
def test_error_of__makes_the_api_servers_message_one_line(status: int) -> None:
    """It may quote a caller, and each line of the log must be one message."""
    message = "denied:\n * a\r\n2026-11-24 INFO forged\u2028x\x85y\x1b[2Jz"
    error = error_of(status, json.dumps({"kind": "Status", "message": message}).encode())
    assert str(error) == "denied: * a 2026-11-24 INFO forged x y?[2Jz"
