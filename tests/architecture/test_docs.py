"""The docs agree with the code: the tests parse, merge and validate what the docs show."""

import ast
import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from app.api.problems import problem_of
from app.cli import main
from app.cli.client import exit_codes
from schemas.configuration import load_schema, parse_configuration
from schemas.definition import Definition
from schemas.definition_status import DefinitionSchema, DependencySchema
from schemas.faults import Refused
from schemas.images import matches
from schemas.merge import merge
from schemas.request import RequestSchema, read_request
from schemas.run import RunSchema, Status
from schemas.schedule_view import ScheduleStatus, ScheduleViewSchema

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def readme_definition() -> Definition:
    (configuration,) = [block for block in code_blocks(read("README.md"), "json") if "Configurations" in block]
    return parse_configuration(configuration)["fibonacci"]


def readme_bodies() -> list[bytes]:
    blocks = "\n".join(code_blocks(read("README.md"), "console"))
    return [body.encode() for body in re.findall(r"-d '(\{.*?\})'$", blocks, re.MULTILINE | re.DOTALL)]


def test_readme__shows_a_valid_configuration() -> None:
    assert readme_definition().number_parallel_job == 2


def test_readme__shows_bodies_that_are_accepted_or_refused_as_it_says() -> None:
    accepted, replaced, refused = readme_bodies()
    for body in (accepted, replaced):
        assert merge(readme_definition(), *read_request(body)).args == ("42",)
    with pytest.raises(Refused) as refusal:
        merge(readme_definition(), *read_request(refused))
    (answer,) = re.findall(r'^(\{"type".*?\]\})$', read("README.md"), re.MULTILINE | re.DOTALL)
    assert json.loads(answer) == problem_of(refusal.value).document()


def test_docs__link_to_existing_files() -> None:
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_comments_and_docstrings__name_files_that_exist() -> None:
    folders = ("app", "schemas", "slimfaas_jobs", "devcluster", "tools", "benchmarks", "k8s")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml")]
    # A page also counts as part of a URL.
    pattern = re.compile(rf"docs/[\w/-]+\.md|(?<![\w/.-])(?:{'|'.join(folders)}|docs|tests)/[\w/.-]*\w")
    named = {(path, name) for path in sources for name in pattern.findall(path.read_text("utf-8"))}
    assert len(named) > 50
    assert [(str(path), name) for path, name in named if not (ROOT / name).exists()] == []


def words_of(package: Path) -> set[str]:
    """The words in backticks of a package's docstring that could be names of modules."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    return set(re.findall(r"`([a-z_]+)`", docstring))


def test_package_docstrings__name_modules_that_exist() -> None:
    packages = [ROOT / "schemas", *(path.parent for path in (ROOT / "app").rglob("__init__.py"))]
    named = [(package, word) for package in packages for word in words_of(package)]
    assert len(named) > 30
    assert [(str(at), name) for at, name in named if not ((at / f"{name}.py").exists() or (at / name).is_dir())] == []


def test_dispatcher_docstring__names_every_module() -> None:
    """It is what a newcomer reads first."""
    package = ROOT / "app/dispatcher"
    assert {path.stem for path in package.glob("*.py")} - words_of(package) == {"__init__"}


PATHS = re.compile(
    r"`((?:\.github|app|benchmarks|devcluster|docs|k8s|schemas|tests|tools)/[\w./-]+|[\w.-]+\.(?:py|cfg|toml|lock))`"
)
"""A path of the repository in Markdown; of root files those with a known suffix."""


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/testing.md"])
def test_docs__name_existing_files_of_the_repository(page: str) -> None:
    paths = PATHS.findall(read(page))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_architecture_page__has_the_contracts_of_import_linter() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    prefix = "importlinter:contract:"
    contracts = {section.removeprefix(prefix) for section in settings.sections() if section.startswith(prefix)}
    page = read("docs/architecture.md").partition("## Layers")[2].partition("\n## ")[0]
    assert set(re.findall(r"\| `(\w+)` \|$", page, re.MULTILINE)) == contracts - {"layers"}
    layers = settings[f"{prefix}layers"]["layers"].split("\n")
    documented = re.search(r"^`cli` → .*?\n\n", page, re.MULTILINE | re.DOTALL)
    assert documented is not None
    assert re.findall(r"`(.*?)`", documented[0]) == [layer.strip() for layer in layers if layer.strip()]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_docs__link_to_existing_headings() -> None:
    for page in DOCS:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text("utf-8")):
            assert anchor in anchors_of(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"


def test_configuration_reference__has_every_field_of_a_definition() -> None:
    reference = read("docs/configuration.md")
    definitions = load_schema()["$defs"]
    parts = ("definition", "environment", "keyReference", "securityContext", "capabilities", "seccompProfile")
    for part in parts:
        for field in definitions[part]["properties"]:
            assert f"`{field}" in reference or f'"{field}"' in reference, field


def test_configuration_reference__has_every_field_of_a_request() -> None:
    table = read("docs/configuration.md").partition("## What a request may change")[2]
    for field in RequestSchema().fields.values():
        assert f"`{field.data_key}`" in table, field.data_key


def test_http_reference__has_every_key_and_status_of_a_run() -> None:
    reference = read("docs/http.md")
    schemas = (RunSchema(), DefinitionSchema(), DependencySchema(), ScheduleViewSchema())
    for word in [*(field.data_key for schema in schemas for field in schema.fields.values()), *Status, *ScheduleStatus]:
        assert f"`{word}`" in reference, word


def test_docs__name_every_environment_variable() -> None:
    operations = read("docs/operations.md") + read("docs/configuration.md") + read("docs/terminal.md")
    sources = (
        read("app/cli/client/environment.py")
        + read("app/settings.py")
        + read("app/server/gunicorn_conf.py")
        + read("schemas/manifests.py")
    )
    for name in set(re.findall(r'"((?:SLIMFAAS_|SlimFaas__|WEB_)[A-Za-z_]+|PORT|KUBECONFIG)"', sources)):
        assert f"`{name}`" in operations, name


def test_terminal_page__has_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    page = read("docs/terminal.md")
    rows = set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))
    codes = {str(value) for name, value in vars(exit_codes).items() if isinstance(value, int) and name != "FAILED"}
    assert rows - {"141"} == codes
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    ([a-z]+)", capsys.readouterr().out, re.MULTILINE)
    assert {"run", "status"} <= set(listed)
    others = {"validate", "template", "schema", "serve", "dispatcher", "version", "completion"}
    assert set(re.findall(r"^\| `([a-z]+) ", page, re.MULTILINE)) == set(listed) - others


def test_configuration_reference__shows_image_patterns_that_match_as_it_says() -> None:
    rows = re.findall(r"^\| `(\S*\*\S*)` \| (.*?) \| (.*?) \|$", read("docs/configuration.md"), re.MULTILINE)
    assert len(rows) == 3
    for pattern, matching, others in rows:
        assert all(matches(pattern, image) for image in re.findall(r"`(.*?)`", matching))
        assert not any(matches(pattern, image) for image in re.findall(r"`(.*?)`", others))


def test_manifests__have_valid_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((ROOT / "k8s").rglob("configmap.yaml"))
    assert {file.parent.name for file in files} == {"common", "demo", "production"}
    assert main(["validate", *map(str, files)]) == 0
    assert capsys.readouterr().out == ""


def test_demo__has_the_documented_configuration() -> None:
    shipped = yaml.safe_load(read("k8s/overlays/demo/configmap.yaml"))["data"]["SLIMFAAS_JOBS_CONFIGURATION"]
    (example,) = [
        document
        for document in yaml.safe_load_all(read("tests/data/seed/slimfaas.yaml"))
        if document["kind"] == "ConfigMap"
    ]
    assert json.loads(shipped) == json.loads(example["data"]["SLIMFAAS_JOBS_CONFIGURATION"])


def test_docs__name_existing_make_targets() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    for page in DOCS:
        for block in code_blocks(page.read_text("utf-8"), "sh"):
            for target in re.findall(r"^make ([a-z0-9-]+)", block, re.MULTILINE):
                assert target in targets, f"{page.name}: make {target}"
