"""Renders the OpenAPI document as an HTML page that loads nothing and works without its script."""

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from schemas.problem import CONTENT_TYPE, title_of

_HERE = Path(__file__).parent

_SERVER = "@SERVER-URL@"
"""Stands for the server's URL in the rendered page, because each client may reach the service at another URL."""

Error = tuple[str, str]
"""An error by which it is recognised in several operations: status and detail."""


@dataclass(frozen=True, slots=True)
class Page:
    """A rendered page.

    Attributes:
        template: the HTML, in which `_SERVER` stands for the server's URL.
        policy: the Content-Security-Policy, which allows the page's own style and script and nothing else.
    """

    template: str
    policy: str

    def for_server(self, url: str) -> bytes:
        """Return the page as UTF-8 with the server's URL in its examples."""
        return self.template.replace(_SERVER, str(escape(url))).encode()


def render(document: Mapping[str, Any]) -> Page:
    """Render an OpenAPI document.

    Args:
        document: the document that `document.build_document` builds.
    """
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": _prose, "pretty": _pretty, "kind": _kind, "phrase": _phrase}
    operations = list(_read_operations(document))
    common = _shared_errors(operations)
    # Errors that all operations on a definition share: most of them concern access.
    on_definition = _shared_errors(operation for operation in operations if operation["on_definition"]) - common
    for operation in operations:
        shared = common | on_definition if operation["on_definition"] else common
        operation["own_errors"] = _select_errors(operation, operation["errors"].keys() - shared)
    template = environment.get_template("page.html").render(
        document=document,
        groups=_group_by_tag(operations),
        common_errors=_select_errors(operations[0], common),
        definition_errors=next((_select_errors(one, on_definition) for one in operations if one["on_definition"]), {}),
        error_headers=_read_error_headers(operations),
        problem_type=CONTENT_TYPE,
        server=_SERVER,
        style=style,
        script=script,
        resolve=_make_resolver(document),
    )
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(template, policy)


def _digest(text: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows an inline element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read_operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operation in the document's order, with what the template needs beyond the document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield {
                **operation,
                "path": path,
                "method": method.upper(),
                "curl": _curl(path, method.upper(), operation),
                "on_definition": "{name}" in path,
                "successes": {status: one for status, one in operation["responses"].items() if status < "400"},
                "errors": dict(_read_errors(operation)),
            }


def _group_by_tag(operations: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for operation in operations:
        groups.setdefault(operation["tags"][0], []).append(operation)
    return groups


def _read_errors(operation: Mapping[str, Any]) -> Iterator[tuple[Error, dict[str, Any]]]:
    """Yield the errors of an operation, each with its example document."""
    for status, response in operation["responses"].items():
        for example in response.get("content", {}).get(CONTENT_TYPE, {}).get("examples", {}).values():
            yield (status, example["summary"]), example["value"]


def _shared_errors(operations: Iterable[Mapping[str, Any]]) -> set[Error]:
    """Return the errors that all of the operations have."""
    sets = [set(operation["errors"]) for operation in operations]
    return set.intersection(*sets) if sets else set()


def _select_errors(operation: Mapping[str, Any], selected: Iterable[Error]) -> dict[str, list[dict[str, Any]]]:
    """Return the example documents of the selected errors of an operation, by status, in the document's order."""
    chosen: dict[str, list[dict[str, Any]]] = {}
    for (status, detail), example in operation["errors"].items():
        if (status, detail) in set(selected):
            chosen.setdefault(status, []).append(example)
    return chosen


def _read_error_headers(operations: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the headers that only error responses have: description, example and statuses by name."""
    headers: dict[str, dict[str, Any]] = {}
    for operation in operations:
        for status, response in operation["responses"].items():
            for name, header in response.get("headers", {}).items() if status >= "400" else ():
                if name != "X-Request-Id":
                    headers.setdefault(name, {**header, "statuses": set()})["statuses"].add(status)
    return headers


def _curl(path: str, method: str, operation: Mapping[str, Any]) -> str:
    """Return a command line that performs the operation, with the examples of its parameters and its body."""
    query = []
    for parameter in operation["parameters"]:
        example = parameter.get("example")
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(example))
        elif parameter["in"] == "query" and example not in (None, parameter["schema"].get("default")):
            values = example if isinstance(example, list) else [example]
            query += [f"{parameter['name']}={value}" for value in values]
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        body = next(iter(media["examples"].values()))["value"]
        words = [*(["curl"] if method == "POST" else words), "-d", shlex.quote(json.dumps(body))]
    # Always quoted: the query has characters that are special to a shell, and so may the server's URL (`[::1]`).
    return " ".join([*words, f"'{_SERVER}{path}{'?' if query else ''}{'&'.join(query)}'"])


def _make_resolver(document: Mapping[str, Any]) -> Any:
    def resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the schema that a reference names; any other schema unchanged."""
        reference = schema.get("$ref")
        return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema

    return resolve


def _prose(text: str) -> Markup:
    """Return the text as HTML paragraphs, in which text between backticks is code."""
    pieces = []
    for paragraph in text.strip().split("\n\n"):
        words = [
            Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
            for index, part in enumerate(paragraph.split("`"))
        ]
        pieces.append(Markup("<p>{}</p>").format(Markup("").join(words)))
    return Markup("\n").join(pieces)


def _pretty(value: Any) -> str:
    """Return a value as JSON, on one line if it is short; a string as it is."""
    if isinstance(value, str):
        return value.rstrip("\n")
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= 60 else json.dumps(value, indent=2, ensure_ascii=False)


def _kind(schema: Mapping[str, Any]) -> Markup:
    """Describe the values of a schema in a few words, with a link to each schema that has a name."""
    return Markup(", ").join(_kind_words(schema))


def _kind_words(schema: Mapping[str, Any]) -> Iterator[str | Markup]:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        yield Markup('<a href="#schema-{0}">{0}</a>').format(name)
        return
    if "oneOf" in schema:
        yield Markup(" or ").join(_kind(one) for one in schema["oneOf"])
    elif "enum" in schema:
        yield Markup(" or ").join(Markup("<code>{}</code>").format(value) for value in schema["enum"])
    elif "const" in schema:
        yield Markup("always <code>{}</code>").format(schema["const"])
    else:
        types = schema.get("type", "any value")
        kind = " or ".join(types if isinstance(types, list) else [types])
        if "items" in schema:
            yield Markup("{} of {}").format(kind, _kind(schema["items"]))
        elif isinstance(schema.get("additionalProperties"), dict):
            yield Markup("{} of {} by name").format(kind, _kind(schema["additionalProperties"]))
        else:
            yield kind
    if "minimum" in schema or "maximum" in schema:
        yield f"{schema.get('minimum', '')} to {schema.get('maximum', '')}".strip()
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"
    if schema.get("uniqueItems"):
        yield "no duplicates"


def _phrase(status: str) -> str:
    """Return the reason phrase of a status."""
    return title_of(HTTPStatus(int(status)))
