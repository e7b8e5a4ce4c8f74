"""The OpenAPI 3.1 document, made of the application's routes: https://spec.openapis.org/oas/v3.1.1."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import groupby
from typing import Any

from apispec import APISpec
from flask import Flask
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import Rule

from app.api.openapi import error_examples
from app.api.openapi.fields import plugin
from app.api.openapi.operations import Answer, Operation, Parameter, operation_of
from app.api.openapi.parameters import REQUEST_ID_ANSWERED, of_path
from app.api.problems import problem_of
from app.common.http_limits import PARSE_ERRORS
from schemas.problem import CONTENT_TYPE, Problem, ProblemSchema

_ABOUT = """\
An HTTP front door for Kubernetes Jobs. A call to `POST /job/<name>` starts a run of the definition `<name>`: one
Kubernetes Job, started when everything that it depends on is ready and one of the definition's slots is free.

Keys are PascalCase, times are Unix milliseconds, and -1 stands for a time that has not come yet. Every error is a
problem document (RFC 9457).
"""

_BEARER = "ServiceAccountToken"

_ARGUMENT = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


def build_document(app: Flask) -> dict[str, Any]:
    """Describe every route of an application.

    Raises:
        LookupError: one of them has no description, or a parameter without one.
    """
    spec = APISpec(
        title="SlimFaas Jobs",
        version=_version(),
        openapi_version="3.1.1",
        plugins=[plugin()],
        info={"description": _ABOUT},
        servers=[{"url": "/"}],
    )
    spec.components.security_scheme(
        _BEARER,
        {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of a Kubernetes ServiceAccount, for private definitions. Public ones ask for "
            "none, and callers whose address is trusted need none.",
        },
    )
    rules = list(app.url_map.iter_rules())
    templates = _templates(rules)
    allowed: dict[str, set[str]] = {}
    for rule in rules:
        allowed.setdefault(templates[rule.rule][0], set()).update(rule.methods or ())
    for rule in rules:
        if "<rest:" in rule.rule:  # matches longer paths, too
            prefix = templates[rule.rule][0] + "/"
            for path in allowed:
                allowed[path] |= (rule.methods or set()) if path.startswith(prefix) else set()
    operations: dict[str, dict[str, Any]] = {path: {} for path in allowed}
    for rule in rules:
        operation = operation_of(app.view_functions[rule.endpoint])
        path, parameters = templates[rule.rule]
        described = _describe(operation, parameters, allowed[path])
        if rest := re.search(r"<rest:(\w+)>", rule.rule):  # a second route to the same view
            described["operationId"] = f"{rule.endpoint}.{rest[1]}"
            described["summary"] += f", with a {rest[1]}"
        else:
            described["operationId"] = rule.endpoint
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operations[path][method.lower()] = described
    for path, methods in operations.items():
        spec.path(path, operations=methods)
    return spec.to_dict()


def _version() -> str:
    try:
        return metadata.version("slimfaas-jobs")
    except metadata.PackageNotFoundError:  # a source tree that nobody has installed
        return "0"


def _templates(rules: Sequence[Rule]) -> dict[str, tuple[str, list[Parameter]]]:
    """The path template of every route with its parameters.

    To OpenAPI, two templates that differ in nothing but the names of their parameters are the same path. A route that
    takes all the rest of a path gives way: there its parameter bears the name that the other has.
    """
    names: dict[str, str] = {}
    templates = {}
    for rule in sorted(rules, key=lambda rule: "<rest:" in rule.rule):
        parameters = [of_path(match["name"]) for match in _ARGUMENT.finditer(rule.rule)]
        pieces = _ARGUMENT.split(rule.rule)[:: _ARGUMENT.groups + 1]
        shape = "{}".join(pieces)
        if shape not in names:
            names[shape] = "".join(
                piece + (f"{{{parameters[place].name}}}" if place < len(parameters) else "")
                for place, piece in enumerate(pieces)
            )
        path = names[shape]
        named = re.findall(r"\{(\w+)\}", path)
        templates[rule.rule] = (path, [replace(one, name=name) for one, name in zip(parameters, named, strict=True)])
    return templates


def _describe(operation: Operation, of_path: Sequence[Parameter], allowed: Iterable[str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [parameter.document() for parameter in (*of_path, *operation.parameters)],
        "responses": {},
    }
    if operation.text:
        described["description"] = operation.text
    if operation.body is not None:
        examples = {name: {"value": value} for name, value in operation.bodies.items()}
        content = {"application/json": {"schema": operation.body, "examples": examples}}
        described["requestBody"] = {"required": False, "content": content}
    if operation.guarded or operation.personal:
        described["security"] = [{}, {_BEARER: []}]
    for answer in operation.answers:
        described["responses"][str(answer.status)] = _response(answer)
    for status, response in _problems(operation, allowed):
        described["responses"][str(status)] = response
    shown = REQUEST_ID_ANSWERED
    for status, response in described["responses"].items():
        always = int(status) not in PARSE_ERRORS  # what gunicorn refuses itself has none
        response.setdefault("headers", {})["X-Request-Id"] = _header(shown.text, shown.example, always=always)
    described["responses"] = dict(sorted(described["responses"].items()))
    return described


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.text}
    if answer.schema is not None:
        schema: Any = {"type": "array", "items": answer.schema} if answer.many else answer.schema
        if answer.alternative is not None:
            schema = {"anyOf": [answer.schema, answer.alternative]}
        example = answer.schema().dump(answer.example, many=answer.many)
        response["content"] = {"application/json": {"schema": schema, "example": example}}
    elif answer.content_type:
        kind = "object" if answer.content_type.endswith("json") else "string"
        media = {"schema": {"type": kind}, "example": answer.example}
        response["content"] = {answer.content_type: {key: value for key, value in media.items() if value is not None}}
    if answer.headers:
        response["headers"] = {
            name: _header(header.text, header.example, always=header.always) for name, header in answer.headers.items()
        }
    if answer.links:
        response["links"] = {
            name: {"operationId": link.operation, "parameters": dict(link.parameters)}
            for name, link in answer.links.items()
        }
    return response


def _header(text: str, example: str, *, always: bool) -> dict[str, Any]:
    return {"description": text, "required": always, "schema": {"type": "string"}, "example": example}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


_HEADERS = {
    "Allow": "The methods that the path knows.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "How to say who calls.",
}


def _problems(operation: Operation, allowed: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every problem that a call can end in, by status; each of its faults is an example."""
    of_door = error_examples.ACCESS if operation.guarded else ()
    not_allowed = MethodNotAllowed(valid_methods=sorted(allowed))
    examples = [problem_of(fault) for fault in (*of_door, *operation.errors, not_allowed, *error_examples.ALWAYS)]
    examples += PARSE_ERRORS.values()
    for status, group in groupby(sorted(examples, key=lambda problem: problem.status), lambda problem: problem.status):
        yield status.value, _problem(list(group))


def _problem(examples: Sequence[Problem]) -> dict[str, Any]:
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
            name: _header(_HEADERS[name], value, always=all(name in problem.headers for problem in examples))
            for name, value in names.items()
        }
    return response
