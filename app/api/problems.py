"""Answering with problem documents, whatever went wrong and whoever noticed it."""

import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app.api.audit import note
from app.api.responses import json_response
from app.errors import CONTENT_TYPE, problem_of, reason_of

log = logging.getLogger(__name__)


def answer_with_problems(app: Flask) -> None:
    """Make every error of this application a problem document, Flask's and werkzeug's own included."""
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    problem = problem_of(error)
    note(reason=reason_of(error))
    if problem.status >= 500 and not isinstance(error, HTTPException):
        # The message of a foreseen error is ours; of any other the trace is what somebody will need.
        log.error("%s: %s", problem.detail, error, exc_info=error if problem.status == 500 else None)
    return json_response(problem.document(), problem.status, problem.headers, content_type=CONTENT_TYPE)
