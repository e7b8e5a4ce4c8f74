"""The docs say what the code does: what they show is parsed, merged and validated here."""

import json
import re
from pathlib import Path

import pytest
import yaml

from app.api.problems import problem_of
from app.cli import main
from schemas.configuration import load_schema, parse_configuration
from schemas.definition import Definition
from schemas.definition_status import DefinitionSchema, DependencySchema
from schemas.faults import Refused
from schemas.images import matches
from schemas.merge import merge
from schemas.request import RequestSchema, read_request
from schemas.run import RunSchema, Status

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


def test_the_readme_configuration_is_valid() -> None:
    """The configuration that a newcomer copies works as it stands."""
    assert readme_definition().number_parallel_job == 2


def test_the_readme_bodies_are_accepted_or_refused_as_shown() -> None:
    """Each body of the README is applied, but for the one that is shown being refused, with the faults shown."""
    accepted, replaced, refused = readme_bodies()
    for body in (accepted, replaced):
        assert merge(readme_definition(), *read_request(body)).args == ("42",)
    with pytest.raises(Refused) as refusal:
        merge(readme_definition(), *read_request(refused))
    (answer,) = re.findall(r'^(\{"type".*?\]\})$', read("README.md"), re.MULTILINE | re.DOTALL)
    assert json.loads(answer) == problem_of(refusal.value).document()


def test_every_relative_link_leads_somewhere() -> None:
    """No page sends its reader to a page that is not there."""
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_anchor_leads_to_a_heading() -> None:
    """No link drops its reader at the top of a long page."""
    for page in DOCS:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text("utf-8")):
            assert anchor in anchors_of(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"


def test_every_field_of_a_definition_is_in_the_configuration_reference() -> None:
    """The reference names every field that the JSON Schema knows."""
    reference = read("docs/configuration.md")
    definitions = load_schema()["$defs"]
    parts = ("definition", "environment", "keyReference", "securityContext", "capabilities", "seccompProfile")
    for part in parts:
        for field in definitions[part]["properties"]:
            assert f"`{field}" in reference or f'"{field}"' in reference, field


def test_every_field_of_a_request_is_in_the_configuration_reference() -> None:
    """The reference names every field that a request may have."""
    table = read("docs/configuration.md").partition("## What a request may change")[2]
    for field in RequestSchema().fields.values():
        assert f"`{field.data_key}`" in table, field.data_key


def test_every_key_and_status_of_a_run_is_in_the_http_reference() -> None:
    """The reference names all that an answer can hold."""
    reference = read("docs/http.md")
    schemas = (RunSchema(), DefinitionSchema(), DependencySchema())
    for word in [*(field.data_key for schema in schemas for field in schema.fields.values()), *Status]:
        assert f"`{word}`" in reference, word


def test_every_setting_is_in_the_operations_page() -> None:
    """No environment variable is read that operators aren't told of."""
    operations = read("docs/operations.md") + read("docs/configuration.md")
    sources = read("app/settings.py") + read("gunicorn.conf.py") + read("schemas/manifests.py")
    for name in set(re.findall(r'"((?:SLIMFAAS_|SlimFaas__|WEB_)[A-Za-z_]+|PORT|KUBECONFIG)"', sources)):
        assert f"`{name}`" in operations, name


def test_the_image_patterns_of_the_reference_match_as_shown() -> None:
    """Each row of the table of patterns holds."""
    rows = re.findall(r"^\| `(\S*\*\S*)` \| (.*?) \| (.*?) \|$", read("docs/configuration.md"), re.MULTILINE)
    assert len(rows) == 3
    for pattern, matching, others in rows:
        assert all(matches(pattern, image) for image in re.findall(r"`(.*?)`", matching))
        assert not any(matches(pattern, image) for image in re.findall(r"`(.*?)`", others))


def test_our_manifests_hold_valid_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    """`slimfaas-jobs validate` accepts what we ship."""
    files = sorted((ROOT / "k8s").rglob("configmap.yaml"))
    assert {file.parent.name for file in files} == {"common", "demo", "production"}
    assert main(["validate", *map(str, files)]) == 0
    assert capsys.readouterr().out == ""


def test_the_demo_configuration_is_the_documented_example() -> None:
    """The demo runs the example of the source document, field for field."""
    shipped = yaml.safe_load(read("k8s/overlays/demo/configmap.yaml"))["data"]["SLIMFAAS_JOBS_CONFIGURATION"]
    (example,) = [
        document
        for document in yaml.safe_load_all(read("tests/data/seed/slimfaas.yaml"))
        if document["kind"] == "ConfigMap"
    ]
    assert json.loads(shipped) == json.loads(example["data"]["SLIMFAAS_JOBS_CONFIGURATION"])


def test_the_make_targets_of_the_docs_exist() -> None:
    """Every `make x` that the docs tell people to type is a target."""
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    for page in DOCS:
        for block in code_blocks(page.read_text("utf-8"), "sh"):
            for target in re.findall(r"^make ([a-z0-9-]+)", block, re.MULTILINE):
                assert target in targets, f"{page.name}: make {target}"
