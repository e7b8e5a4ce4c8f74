"""The description as a page for people: HTML without scripts, which loads nothing."""

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from schemas.problem import title_of

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        html: UTF-8.
        policy: the Content-Security-Policy that it needs, and that allows nothing else.
    """

    html: bytes
    policy: str


def render(document: Mapping[str, Any]) -> Page:
    """Write a description as a page.

    Args:
        document: an OpenAPI document, as `document.build_document` makes it.
    """
    style = (_HERE / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": _prose, "pretty": _pretty, "kind": _kind, "phrase": _phrase}
    html = environment.get_template("page.html").render(
        document=document,
        groups=_groups(document),
        style=style,
        resolve=_resolver(document),
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)


def _groups(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The calls by their tag, in the order of the document."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            call = {"path": path, "method": method.upper(), "curl": _curl(path, method.upper(), operation), **operation}
            groups.setdefault(operation["tags"][0], []).append(call)
    return groups


def _curl(path: str, method: str, operation: Mapping[str, Any]) -> str:
    """A command line that makes the call, with the examples of its parameters and its body."""
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    query = []
    for parameter in operation["parameters"]:
        example = parameter.get("example")
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(example))
        elif example is not None and parameter["in"] == "query":
            values = example if isinstance(example, list) else [example]
            query += [f"{parameter['name']}={value}" for value in values]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        example = next(iter(media["examples"].values()))["value"]
        words += ["-d", shlex.quote(json.dumps(example))]
    address = "http://localhost:5000" + path + ("?" + "&".join(query) if query else "")
    return " ".join([*words, shlex.quote(address)])


def _resolver(document: Mapping[str, Any]) -> Any:
    def resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference leads to; any other is itself."""
        reference = schema.get("$ref")
        return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema

    return resolve


def _prose(text: str) -> Markup:
    """Paragraphs, with what stands between backticks as code."""
    pieces = []
    for paragraph in text.strip().split("\n\n"):
        words = [
            Markup("<code>{}</code>").format(part) if odd % 2 else escape(part)
            for odd, part in enumerate(paragraph.split("`"))
        ]
        pieces.append(Markup("<p>{}</p>").format(Markup("").join(words)))
    return Markup("\n").join(pieces)


def _pretty(value: Any) -> str:
    """A value as JSON, short ones on one line."""
    if isinstance(value, str):
        return value.rstrip("\n")
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= 60 else json.dumps(value, indent=2, ensure_ascii=False)


def _kind(schema: Mapping[str, Any]) -> Markup:
    """What a value of this schema is, in a few words, with a link to a schema that has a name."""
    return Markup(", ").join(_words(schema))


def _words(schema: Mapping[str, Any]) -> Iterator[str | Markup]:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        yield Markup('<a href="#schema-{0}">{0}</a>').format(name)
        return
    if "anyOf" in schema:
        yield Markup(" or ").join(_kind(one) for one in schema["anyOf"])
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
        yield "none twice"


def _phrase(status: str) -> str:
    """The status in words."""
    return title_of(HTTPStatus(int(status)))
