"""The page at `/ui`: how its files are served. tests/e2e/test_page.py drives it in a browser."""

import re
from pathlib import Path

import pytest

from app.api import ui
from app.settings import Settings
from tests.http.clients import Caller, MakeCaller, check_problem
from tests.support.faults import FaultProxy

FOLDER = Path(str(ui.__file__)).parent
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg"))
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/ui", *(f"/ui/{name}" for name in FILES)])
def test_file__is_served_with_its_type_and_strict_headers(caller: Caller, path: str) -> None:
    response = caller.get(path)
    assert response.status_code == 200
    name = path.removeprefix("/ui").strip("/") or "index.html"
    assert response.data == (FOLDER / name).read_bytes()
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert response.mimetype == types[Path(name).suffix]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-cache"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    again = caller.get(path, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "__init__.py", "missing.js", "app.js.map", "%2e%2e"])
def test_other_files__are_not_served(caller: Caller, name: str) -> None:
    assert check_problem(caller.get(f"/ui/{name}"))["status"] in (400, 404)


def test_page__has_no_inline_script_or_style_and_loads_only_its_own_files() -> None:
    html = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)
    targets = set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    assert targets - {"docs"} <= {f"ui/{name}" for name in FILES}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_script__makes_no_markup_of_text_and_imports_only_its_own_files(name: str) -> None:
    """Trusted Types in the page's policy enforce the first half in browsers that know them."""
    text = (FOLDER / name).read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|srcdoc", text)
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", text)  # the token stays in memory
    assert set(re.findall(r'from "([^"]+)"', text)) <= {f"./{file}" for file in FILES}


def test_page__needs_no_call_to_the_api_server(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    for path in ("/ui", *(f"/ui/{name}" for name in FILES)):
        assert caller_by_proxy.get(path).status_code == 200
    assert not proxy.requests


def test_page__behind_a_prefix(make_caller: MakeCaller) -> None:
    """The page names its files and the API by relative addresses, so only redirects have the prefix."""
    caller = make_caller(path_prefix="/batch")
    assert caller.get("/", headers=BROWSER).headers["Location"] == "/batch/ui"
    assert caller.get("/ui/").headers["Location"] == "/batch/ui"
    assert caller.get("/").json["Ui"] == "/batch/ui"
    assert caller.get("/ui").data == (FOLDER / "index.html").read_bytes()


def test_page__is_off_where_the_setting_says_so(make_caller: MakeCaller) -> None:
    caller = make_caller(ui=False)
    check_problem(caller.get("/ui"), 404)
    check_problem(caller.get("/ui/app.js"), 404)
    assert caller.get("/", headers=BROWSER).headers["Location"] == "/docs"
    assert set(caller.get("/").json) == {"Docs", "OpenApi", "Status"}
    assert "/ui" not in caller.get("/openapi.json").json["paths"]


@pytest.mark.parametrize(("text", "expected"), [("on", True), ("OFF", False), ("", True)])
def test_setting__turns_the_page_off(text: str, expected: bool) -> None:
    variables = {"SLIMFAAS_UI": text, "SLIMFAAS_JOBS_CONFIGURATION": "{}"}
    assert Settings.from_environment(variables).ui is expected
