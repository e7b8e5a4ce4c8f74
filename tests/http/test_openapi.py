"""`/openapi.json` and `/docs` cover every route, reveal no secrets, and cost nothing until they are requested."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api.openapi.document import build_document
from app.api.openapi.page import render
from app.factory import create_app
from app.settings import Settings
from schemas.request import RequestSchema
from tests.http.clients import DEFINITIONS, SECRET, Caller
from tests.support.servers import Server, write_kubeconfig

ROOT = Path(__file__).resolve().parents[2]


def read_document(caller: Caller) -> dict[str, Any]:
    response = caller.get("/openapi.json")
    assert response.status_code == 200
    assert response.content_type == "application/json"
    return dict(response.json)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every operation by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_document__is_valid_openapi_3_1(caller: Caller) -> None:
    document = read_document(caller)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_document__describes_exactly_the_routes(caller: Caller) -> None:
    """Except those that take the rest of a path, which OpenAPI cannot describe: the text of an operation tells them."""
    described = {re.sub(r"\{\w+\}", "{}", call) for call in operations(read_document(caller))}
    rules = caller.client.application.url_map.iter_rules()
    assert described == {
        f"{method} {re.sub('<[^>]+>', '{}', rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if "<rest:" not in rule.rule
    }
    assert "POST /job/<name>/<path>" in read_document(caller)["paths"]["/job/{name}"]["post"]["description"]


def test_build_document__fails_for_a_route_without_a_description() -> None:
    app = Flask("test", static_folder=None)
    app.add_url_rule("/new", view_func=lambda: "")
    with pytest.raises(LookupError, match="has no description"):
        build_document(app)


def test_document__has_examples_and_problems_for_every_operation(caller: Caller) -> None:
    for call, operation in operations(read_document(caller)).items():
        assert operation["summary"]
        assert {"400", "405", "500"} <= set(operation["responses"]), call
        for status, response in operation["responses"].items():
            assert response["description"]
            for media_type, media in response.get("content", {}).items():
                if "$ref" in str(media["schema"]):
                    assert "example" in media or media["examples"], (call, status, media_type)
                if media_type == "application/problem+json":
                    assert {example["value"]["status"] for example in media["examples"].values()} == {int(status)}
            assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503")), (call, status)
        assert "Allow" in operation["responses"]["405"]["headers"]


def test_document__shows_the_methods_that_the_service_allows(caller: Caller) -> None:
    for call, operation in operations(read_document(caller)).items():
        path = call.partition(" ")[2].replace("{name}", "public").replace("{id}", "aaaaaaaaaaaa")
        allowed = caller.call("TRACE", path).headers["Allow"]
        example = operation["responses"]["405"]["headers"]["Allow"]["example"]
        assert set(example.split(", ")) == set(allowed.split(", ")), call


def test_document__describes_every_key(caller: Caller) -> None:
    schemas = read_document(caller)["components"]["schemas"]
    for name, schema in schemas.items():
        for key, described in schema["properties"].items():
            assert described.get("description") or "$ref" in described or "const" in described, (name, key)
    assert set(schemas["Request"]["properties"]) == {one.data_key for one in RequestSchema().fields.values()}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_description__contains_nothing_of_the_definitions(
    server: Server, namespace: str, tmp_path: Path, path: str
) -> None:
    definitions = {"Configurations": {"quite-secret": DEFINITIONS["Configurations"]["public"]}}
    kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
    app = create_app(Settings(configuration=json.dumps(definitions), kubeconfig=kubeconfig))
    text = app.test_client().get(path).text
    assert "quite-secret" not in text
    assert SECRET not in text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_description__is_not_sent_again_if_its_etag_matches(caller: Caller, path: str) -> None:
    first = caller.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = caller.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert caller.get(path, headers={"If-None-Match": '"other"'}).data == first.data


class _Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element and refuse attributes that load or run something."""
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "style")
            if name == "href":
                self.targets.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def _digest(html: str, element: str) -> str:
    (text,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_page__loads_nothing_and_runs_only_its_own_script(caller: Caller) -> None:
    response = caller.get("/docs")
    assert response.content_type == "text/html; charset=utf-8"
    page = _Page(response.text)
    assert set(page.tags).isdisjoint({"link", "img", "iframe", "object", "embed", "form", "base"})
    assert page.tags.count("script") == 1
    assert {target for target in page.targets if not target.startswith("#")} == {"openapi.json"}
    assert "url(" not in response.text
    assert "@import" not in response.text
    directives = response.headers["Content-Security-Policy"].split("; ")
    assert directives[:3] == [
        "default-src 'none'",
        f"style-src '{_digest(response.text, 'style')}'",
        f"script-src '{_digest(response.text, 'script')}'",
    ]
    assert "unsafe" not in str(directives)


def test_page__shows_every_operation_and_has_no_broken_links(caller: Caller) -> None:
    page = _Page(caller.get("/docs").text)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)
    for operation in operations(read_document(caller)).values():
        assert operation["operationId"] in page.ids
        assert f"#{operation['operationId']}" in page.targets, "not in the index"


def test_page__hides_the_filter_until_the_script_runs(caller: Caller) -> None:
    html = caller.get("/docs").text
    assert re.search(r'<div class="filter" hidden>\s*<input id="filter"', html)
    assert len(re.findall(r" hidden\b", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL))) == 1


def test_page__escapes_text_of_the_document(caller: Caller) -> None:
    document = read_document(caller)
    next(iter(operations(document).values()))["summary"] = "<script>alert(1)</script>"
    document["info"]["description"] = "`<b>` <i>"
    html = render(document).for_server("http://jobs.example").decode()
    assert "<script>alert" not in html
    assert "<code>&lt;b&gt;</code> &lt;i&gt;" in html


def _articles(html: str) -> dict[str, str]:
    return dict(re.findall(r'<article id="([^"]+)"[^>]*>(.*?)</article>', html, re.DOTALL))


def test_page__lists_shared_errors_once(caller: Caller) -> None:
    """The errors of all operations, and those of all operations on a definition, are not repeated."""
    articles = _articles(caller.get("/docs").text)
    own = "".join(html for name, html in articles.items() if name not in ("errors", "errors-definition"))
    for detail in ("internal error", "The method is not allowed", "the request line is longer"):
        assert articles["errors"].count(detail) == 1
        assert detail not in own
    for detail in ("there is no such definition", "this definition is private"):
        assert articles["errors-definition"].count(detail) == 1
        assert detail not in own


def test_page__names_every_error_of_every_operation(caller: Caller) -> None:
    """An operation's own errors, together with the shared ones that it links to, are those of the document."""
    articles = _articles(caller.get("/docs").text)
    details = {name: set(map(unescape, re.findall(r"<li>([^<\n]+)", html))) for name, html in articles.items()}
    for operation in operations(read_document(caller)).values():
        expected = {
            example["summary"]
            for response in operation["responses"].values()
            for example in response.get("content", {}).get("application/problem+json", {}).get("examples", {}).values()
        }
        name = operation["operationId"]
        linked = [shared for shared in ("errors", "errors-definition") if f'href="#{shared}"' in articles[name]]
        assert set.union(details[name], *(details[shared] for shared in linked)) == expected, name


@pytest.mark.parametrize(
    "url", ["http://jobs.example", "https://jobs.example:8443", "http://10.0.0.1:5000", "http://[fd00::1]:5000"]
)
def test_page__uses_the_url_of_the_request_in_its_examples(caller: Caller, url: str) -> None:
    """The ETag depends on it, so that no cache serves the page of another URL."""
    response = caller.get("/docs", base_url=url)
    examples = re.sub("<[^>]+>", "", response.text)
    assert f"curl &#39;{url}/jobs/status&#39;" in examples
    assert "@SERVER" not in response.text
    assert response.headers["ETag"] != caller.get("/docs", base_url="http://other.example").headers["ETag"]


@pytest.mark.parametrize("suffix", ["'x", ";id", "$(id)", "`id`", "<b>", '"x', " x", "\\x", ":port", "/?"])
def test_page__ignores_a_host_that_is_not_a_plain_name(caller: Caller, suffix: str) -> None:
    """A reader copies the examples into a shell, and the Host header may be any text."""
    response = caller.get("/docs", headers={"Host": f"evil.example{suffix}"})
    assert response.status_code == 200
    assert "evil" not in response.text
    assert '<span class="server">http://localhost:5000</span>' in response.text


@pytest.mark.slow
def test_factory__does_not_load_the_generator() -> None:
    """Its memory is needed only if the description is requested."""
    code = (
        "import sys, app.factory; print([name for name in sys.modules if 'apispec' in name or 'api.openapi.' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "apispec" not in loaded
    assert "openapi.document" not in loaded
    assert "openapi.page" not in loaded
    assert "openapi.operations" in loaded
