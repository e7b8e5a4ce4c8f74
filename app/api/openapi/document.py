"""Builds the OpenAPI 3.1 document from the application's routes: https://spec.openapis.org/oas/v3.1.1."""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from itertools import groupby
from typing import Any

from apispec import APISpec
from flask import Flask
from werkzeug.exceptions import MethodNotAllowed

from app.api.openapi import error_examples
from app.api.openapi.fields import make_plugin
from app.api.openapi.operations import Operation, Parameter, SuccessResponse, get_operation
from app.api.openapi.parameters import REQUEST_ID_RESPONSE, path_parameter
from app.api.problems import problem_of
from app.common.http_limits import PARSE_ERRORS
from schemas.problem import CONTENT_TYPE, Problem, ProblemSchema

_DESCRIPTION = """\
Start Kubernetes Jobs over HTTP. `POST /job/<name>` starts a run of the definition `<name>`. A run is one Kubernetes
Job; it starts when everything that it depends on is ready and the definition has a free slot.

JSON keys are PascalCase. Times are Unix milliseconds; -1 is a time that has not come yet. Every error is a problem
document (RFC 9457).
"""

_BEARER = "ServiceAccountToken"

_PATH_ARGUMENT = re.compile(r"<(?:\w+:)?(?P<name>\w+)>")

_REST = "<rest:"
"""Marks a route that takes any number of further segments. OpenAPI has no such parameter, and generated clients encode
the slashes in a value. So these routes are described in the text of the operation whose view they share."""

_TAGS = {
    "Runs": "Start, read, list and cancel runs, and read their logs.",
    "Schedules": "Start runs at fixed times.",
    "Definitions": "What may be started, and how busy it is.",
    "Description": "This description.",
    "Page": "The page for people.",
    "Probes": "For the kubelet and Prometheus.",
}
"""The groups of operations, in the order of the page."""


def build_document(app: Flask) -> dict[str, Any]:
    """Describe every route of an application.

    Raises:
        LookupError: a route or a path argument has no description.
    """
    spec = APISpec(
        title="SlimFaas Jobs",
        version=_version(),
        openapi_version="3.1.1",
        plugins=[make_plugin()],
        info={
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
            "contact": {"name": "SlimFaas Jobs", "url": "https://github.com/SlimPlanet/slimfaas-jobs"},
        },
        servers=[{"url": "/"}],
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    spec.components.security_scheme(
        _BEARER,
        {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of a Kubernetes ServiceAccount, for private definitions; where the cluster's RBAC"
            " decides, any token that the API server accepts. Starting and using single runs of public definitions "
            "needs no token, nor do callers whose address is trusted.",
        },
    )
    rules = [rule for rule in app.url_map.iter_rules() if _REST not in rule.rule]
    declared: dict[str, set[str]] = {}
    for rule in rules:
        declared.setdefault(_path_of(rule.rule)[0], set()).update(rule.methods or ())
    allowed = {
        path: set().union(*(methods for other, methods in declared.items() if _covers(other, path)))
        for path in declared
    }
    for rule in app.url_map.iter_rules():
        if _REST in rule.rule:  # also matches longer paths
            prefix = _path_of(rule.rule.partition(_REST)[0])[0]
            for path in allowed:
                allowed[path] |= (rule.methods or set()) if path.startswith(prefix) else set()
    operations: dict[str, dict[str, Any]] = {path: {} for path in allowed}
    for rule in rules:
        operation = get_operation(app.view_functions[rule.endpoint])
        path, parameters = _path_of(rule.rule)
        described = {"operationId": rule.endpoint, **_describe(operation, parameters, allowed[path])}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operations[path][method.lower()] = described
    for path, methods in operations.items():
        spec.path(path, operations=methods)
    return spec.to_dict()


def _version() -> str:
    try:
        return metadata.version("slimfaas-jobs")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        return "0"


def _path_of(rule: str) -> tuple[str, list[Parameter]]:
    """Return the path template and the path parameters of a route, or of the beginning of one."""
    parameters = [path_parameter(match["name"]) for match in _PATH_ARGUMENT.finditer(rule)]
    names = iter(parameters)
    return _PATH_ARGUMENT.sub(lambda _: f"{{{next(names).name}}}", rule), parameters


def _covers(template: str, path: str) -> bool:
    """Return whether a path template also matches another one: `/job/{name}/{id}` matches `/job/{name}/definition`."""
    ours, others = template.split("/"), path.split("/")
    return len(ours) == len(others) and all(
        one == other or (one.startswith("{") and not other.startswith("{"))
        for one, other in zip(ours, others, strict=True)
    )


def _describe(operation: Operation, path_parameters: Sequence[Parameter], allowed: Iterable[str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [parameter.document() for parameter in (*path_parameters, *operation.parameters)],
        "responses": {},
    }
    if operation.text:
        described["description"] = operation.text
    if operation.body is not None:
        examples = {name: {"value": value} for name, value in operation.body_examples.items()}
        content = {operation.body_type: {"schema": operation.body, "examples": examples}}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    # An empty list says that the operation needs no credentials; without it the description would not say.
    described["security"] = [{}, {_BEARER: []}] if operation.requires_access or operation.varies_by_caller else []
    for success in operation.successes:
        described["responses"][str(success.status)] = _describe_success(success)
    for status, response in _describe_problems(operation, allowed):
        described["responses"][str(status)] = response
    header = REQUEST_ID_RESPONSE
    for status, response in described["responses"].items():
        always = int(status) not in PARSE_ERRORS  # gunicorn's own responses have no id
        response.setdefault("headers", {})["X-Request-Id"] = _describe_header(
            header.text, header.example, always=always
        )
    described["responses"] = dict(sorted(described["responses"].items()))
    return described


def _describe_success(success: SuccessResponse) -> dict[str, Any]:
    response: dict[str, Any] = {"description": success.text}
    if success.schema is not None:
        schema: Any = {"type": "array", "items": success.schema} if success.many else success.schema
        if success.alternative is not None:
            schema = {"oneOf": [success.schema, success.alternative]}
        example = success.schema().dump(success.example, many=success.many)
        response["content"] = {"application/json": {"schema": schema, "example": example}}
    elif success.content_type:
        kind = "object" if success.content_type.endswith("json") else "string"
        media = {"schema": {"type": kind}, "example": success.example}
        response["content"] = {success.content_type: {key: value for key, value in media.items() if value is not None}}
    if success.headers:
        response["headers"] = {
            name: _describe_header(header.text, header.example, always=header.always)
            for name, header in success.headers.items()
        }
    if success.links:
        response["links"] = {
            name: {"operationId": link.operation, "parameters": dict(link.parameters)}
            for name, link in success.links.items()
        }
    return response


def _describe_header(text: str, example: str, *, always: bool) -> dict[str, Any]:
    return {"description": text, "required": always, "schema": {"type": "string"}, "example": example}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


_HEADER_TEXTS = {
    "Accept-Encoding": "The content coding that a body may have.",
    "Allow": "The methods that the path supports.",
    "Retry-After": "Seconds to wait before a retry.",
    "WWW-Authenticate": "How to authenticate.",
}


def _describe_problems(operation: Operation, allowed: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the problem responses of an operation by status, with one example per error."""
    access_errors = error_examples.ACCESS if operation.requires_access else ()
    not_allowed = MethodNotAllowed(valid_methods=sorted(allowed))
    browser_errors = () if operation.tag == "Probes" else error_examples.BROWSER
    errors = (*access_errors, *browser_errors, *operation.errors, not_allowed, *error_examples.ALWAYS)
    examples = [problem_of(error) for error in errors]
    examples += PARSE_ERRORS.values()
    for status, group in groupby(sorted(examples, key=lambda problem: problem.status), lambda problem: problem.status):
        yield status.value, _describe_problem(list(group))


def _describe_problem(examples: Sequence[Problem]) -> dict[str, Any]:
    details = list(dict.fromkeys(problem.detail for problem in examples))
    documents = {
        f"example{number}" if number > 1 else "example": {
            "summary": problem.detail,
            "value": problem.document(),
        }
        for number, problem in enumerate({problem.detail: problem for problem in examples}.values(), start=1)
    }
    response: dict[str, Any] = {
        "description": _sentence("; or ".join(detail.rstrip(".") for detail in details)),
        "content": {CONTENT_TYPE: {"schema": ProblemSchema, "examples": documents}},
    }
    names = {name: value for problem in examples for name, value in problem.headers.items()}
    if names:
        response["headers"] = {
            name: _describe_header(
                _HEADER_TEXTS[name], value, always=all(name in problem.headers for problem in examples)
            )
            for name, value in names.items()
        }
    return response
