"""`/openapi.json` and `/docs`: they cover every route, tell no secrets, and cost only who asks for them."""

import base64
import hashlib
import json
import re
import subprocess
import sys
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
    answer = caller.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    return dict(answer.json)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every call by its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_description_is_valid_openapi_3_1(caller: Caller) -> None:
    """Every tool that reads OpenAPI 3.1 can read it."""
    document = read_document(caller)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_and_method_is_described(caller: Caller) -> None:
    """There is no call that the description leaves out, and none in it that there isn't."""
    described = {re.sub(r"\{\w+\}", "{}", call) for call in operations(read_document(caller))}
    rules = caller.client.application.url_map.iter_rules()
    assert described == {
        f"{method} {re.sub('<[^>]+>', '{}', rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_a_route_without_a_description_has_no_document() -> None:
    """Who adds a route is told by every test here what is missing."""
    app = Flask("test", static_folder=None)
    app.add_url_rule("/new", view_func=lambda: "")
    with pytest.raises(LookupError, match="has no description"):
        build_document(app)


def test_every_call_has_its_examples_and_problems(caller: Caller) -> None:
    """Each JSON answer comes with an example; each call says what is answered to a wrong method and to a defect."""
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


def test_the_allowed_methods_in_the_examples_are_those_of_the_service(caller: Caller) -> None:
    """An example of `Allow` is what a caller would be told."""
    for call, operation in operations(read_document(caller)).items():
        path = call.partition(" ")[2].replace("{name}", "public").replace("{id}", "aaaaaaaaaaaa")
        allowed = caller.call("TRACE", path).headers["Allow"]
        example = operation["responses"]["405"]["headers"]["Allow"]["example"]
        assert set(example.split(", ")) == set(allowed.split(", ")), call


def test_every_key_is_explained(caller: Caller) -> None:
    """No reader has to guess what a field means; the schemas are what the service reads and writes."""
    schemas = read_document(caller)["components"]["schemas"]
    for name, schema in schemas.items():
        for key, described in schema["properties"].items():
            assert described.get("description") or "$ref" in described or "const" in described, (name, key)
    assert set(schemas["Request"]["properties"]) == {one.data_key for one in RequestSchema().fields.values()}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_nothing_of_the_definitions_is_told(server: Server, namespace: str, tmp_path: Path, path: str) -> None:
    """Who may not call a private definition can't learn of it here, either."""
    definitions = {"Configurations": {"quite-secret": DEFINITIONS["Configurations"]["public"]}}
    kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
    app = create_app(Settings(configuration=json.dumps(definitions), kubeconfig=kubeconfig))
    text = app.test_client().get(path).text
    assert "quite-secret" not in text
    assert SECRET not in text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_what_has_not_changed_is_not_sent_again(caller: Caller, path: str) -> None:
    """A cache that asks with the ETag gets 304, without a body."""
    first = caller.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = caller.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert caller.get(path, headers={"If-None-Match": '"other"'}).data == first.data


class _Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "style")
            if name == "href":
                self.targets.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_the_page_loads_nothing_and_runs_nothing(caller: Caller) -> None:
    """It works without scripts and without other hosts, and its policy has the browser see to that."""
    answer = caller.get("/docs")
    assert answer.content_type == "text/html; charset=utf-8"
    page = _Page(answer.text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert {target for target in page.targets if not target.startswith("#")} == {"openapi.json"}
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    directives = answer.headers["Content-Security-Policy"].split("; ")
    assert directives[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert "unsafe" not in str(directives)


def test_the_page_shows_every_call_and_its_links_lead_somewhere(caller: Caller) -> None:
    """It is the same description: nothing is in one of both only."""
    answer = caller.get("/docs")
    page = _Page(answer.text)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)
    for operation in operations(read_document(caller)).values():
        assert operation["operationId"] in page.ids


def test_text_on_the_page_is_text(caller: Caller) -> None:
    """Whatever stands in a description, none of it becomes markup."""
    document = read_document(caller)
    next(iter(operations(document).values()))["summary"] = "<script>alert(1)</script>"
    document["info"]["description"] = "`<b>` <i>"
    html = render(document).html.decode()
    assert "<script>" not in html
    assert "<code>&lt;b&gt;</code> &lt;i&gt;" in html


def test_a_service_that_is_not_asked_does_not_load_what_describes_it() -> None:
    """Its memory is for runs: apispec, the generator and the page come with the first question."""
    code = (
        "import sys, app.factory; print([name for name in sys.modules if 'apispec' in name or 'api.openapi.' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert "apispec" not in loaded
    assert "openapi.document" not in loaded
    assert "openapi.page" not in loaded
    assert "openapi.operations" in loaded
