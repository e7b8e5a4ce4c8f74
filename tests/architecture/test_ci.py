"""docs/ci.md: the tests run its recipes unchanged, in a repository like a user's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.configuration import load_schema, parse_configuration
from schemas.faults import Refused
from tests.support.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text("utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
GOOD: dict[str, Any] = {"Configurations": {"a": {"Image": "busybox:1"}}}
BAD: dict[str, Any] = {"Configurations": {"a": {"Image": "busybox:1", "BackoffLimit": -1}}}
SEED = json.loads((ROOT / "tests/data/seed/configuration.json").read_text("utf-8"))
DEFINITION = SEED["Configurations"]["fibonacci"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def yaml_block(mark: str) -> Any:
    (block,) = [block for block in blocks("yaml") if mark in block]
    return yaml.safe_load(block)


def config_map(configuration: object) -> str:
    data = {"SLIMFAAS_JOBS_CONFIGURATION": json.dumps(configuration)}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "jobs"}, "data": data})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with our manifests, a configuration file, and unrelated files."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    (tmp_path / "jobs.json").write_text(json.dumps(GOOD), "utf-8")
    (tmp_path / "package.json").write_text('{"name": "x"}', "utf-8")
    (tmp_path / "k8s" / "template.yaml").write_text("{{- if .Values.a }}\na: {{ .b }}\n", "utf-8")
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, with the installed commands on its path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


LINES = [
    *(line for line in blocks("sh")[0].splitlines() if line),
    yaml_block("- run:")[0]["run"],
    *yaml_block("job-configuration:")["job-configuration"]["script"],
]


@pytest.mark.parametrize("line", LINES)
def test_recipes__pass_for_valid_configurations(line: str, repository: Path) -> None:
    if "kubectl" in line and shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl")
    done = run(line, repository)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("line", [line for line in LINES if line.endswith("k8s/")])
def test_recipes__fail_and_name_the_file_for_faults(line: str, repository: Path) -> None:
    (repository / "k8s" / "bad.yaml").write_text(config_map(BAD), "utf-8")
    done = run(line, repository)
    assert done.returncode == 1
    assert "k8s/bad.yaml" in done.stdout
    assert done.stdout.startswith("::error ") == ("github" in line)


@pytest.mark.slow
def test_schema_recipe__passes_and_fails_with_the_installed_validator(repository: Path) -> None:
    (recipe,) = [block for block in blocks("sh") if "check-jsonschema" in block]
    assert run(recipe, repository).returncode == 0
    (repository / "jobs.json").write_text(json.dumps(BAD), "utf-8")
    assert run(recipe, repository).returncode == 1


def test_pre_commit_hook__checks_the_given_files(repository: Path) -> None:
    """All files in git of the hook's types."""
    (hook,) = HOOKS
    assert hook["id"] == yaml_block("repos:")["repos"][0]["hooks"][0]["id"]
    assert (hook["language"], set(hook["types_or"])) == ("python", {"yaml", "json"})
    run("git init -q && git add -A", repository)
    files = f"{hook['entry']} $(git ls-files '*.yaml' '*.yml' '*.json')"
    done = run(files, repository)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    (repository / "k8s" / "bad.yaml").write_text(config_map(BAD), "utf-8")
    run("git add -A", repository)
    done = run(files, repository)
    assert done.returncode == 1
    assert done.stdout.startswith("k8s/bad.yaml: ConfigMap jobs, ")
    assert run(f"{hook['entry']} package.json", repository).returncode == 0


def test_exit_codes__are_the_same_in_the_docs_and_in_the_help(repository: Path) -> None:
    codes = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    help_text = " ".join(run("slimfaas-jobs validate --help", repository).stdout.split())
    assert re.findall(r"(\d): ", help_text.partition("Exit codes:")[2]) == codes


def with_field(**fields: Any) -> dict[str, Any]:
    return {"Configurations": {"fibonacci": {**DEFINITION, **fields}}}


SCHEMA_FAULTS: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "an unknown field": with_field(image="a"),
    "a number below its bound": with_field(NumberParallelJob=0),
    "a number above its bound": with_field(BackoffLimit=2**31),
    "a text for a number": with_field(BackoffLimit="1"),
    "true for a number": with_field(BackoffLimit=True),
    "a word that isn't one of them": with_field(Visibility="public"),
    "an empty image": with_field(Image=""),
    "a workload that can be none": with_field(DependsOn=["Fibonacci"]),
    "a line feed at the end of a name": with_field(DependsOn=["fibonacci\n"]),
    "a dependency named twice": with_field(DependsOn=["a", "a"]),
    "a name with our infix": {"Configurations": {"a-slimfaas-job-b": DEFINITION}},
    "a name that is too long": {"Configurations": {"a" * 31: DEFINITION}},
    "a variable of the service": with_field(Environments=[{"Name": "SLIMFAAS_JOB_X", "Value": ""}]),
    "a variable with two values": with_field(
        Environments=[{"Name": "A", "SecretRef": {"Name": "a", "Key": "b"}, "FieldRef": {"FieldPath": "metadata.name"}}]
    ),
    "a resource that can be none": with_field(Resources={"Limits": {"CPU": "1"}}),
    "a privileged run": with_field(SecurityContext={"Privileged": True}),
    "a profile that leaves its folder": with_field(
        SecurityContext={"SeccompProfile": {"Type": "Localhost", "LocalhostProfile": "../a"}}
    ),
}
SEMANTIC_FAULTS: dict[str, Any] = {
    "an image that can be none": with_field(Image="a b"),
    "a quantity that can be none": with_field(Resources={"Limits": {"cpu": "much"}}),
    "a request above its limit": with_field(Resources={"Requests": {"cpu": "2"}, "Limits": {"cpu": "1"}}),
    "a variable named twice": with_field(Environments=[{"Name": "A", "Value": ""}, {"Name": "A", "Value": "b"}]),
    "a value beside a reference": with_field(
        Environments=[{"Name": "A", "Value": "b", "FieldRef": {"FieldPath": "metadata.name"}}]
    ),
    "another container's resources": with_field(
        Environments=[{"Name": "A", "ResourceFieldRef": {"ContainerName": "b", "Resource": "limits.cpu"}}]
    ),
    "names that differ in case": {"Configurations": {"Fibonacci": DEFINITION, "fibonacci": DEFINITION}},
    "a whole number with a point": with_field(BackoffLimit=1.0),
    "a capability both added and dropped": with_field(
        SecurityContext={"Capabilities": {"Add": ["CHOWN"], "Drop": ["CHOWN"]}}
    ),
}


def test_check_jsonschema__agrees_with_our_validator_except_for_rules_beyond_the_schema(tmp_path: Path) -> None:
    right = {
        "the demo": SEED,
        "a schema named": {"$schema": load_schema()["$id"], **GOOD},
        "none": {"Configurations": {}},
    }
    cases = list({**right, **SCHEMA_FAULTS, **SEMANTIC_FAULTS}.items())
    for index, (_, configuration) in enumerate(cases):
        (tmp_path / f"{index}.json").write_text(json.dumps(configuration), "utf-8")
    files = " ".join(f"{index}.json" for index in range(len(cases)))
    schema = ROOT / "schemas" / "jobs-configuration.schema.json"
    done = run(f"check-jsonschema --output-format JSON --schemafile '{schema}' {files}", tmp_path)
    refused = {int(Path(error["filename"]).stem) for error in json.loads(done.stdout)["errors"]}

    assert {cases[index][0] for index in refused} == SCHEMA_FAULTS.keys()
    for name, configuration in cases:
        if name in right:
            parse_configuration(json.dumps(configuration))
        else:
            with pytest.raises(Refused):
                parse_configuration(json.dumps(configuration))


def test_docs__name_the_schema_by_its_identifier() -> None:
    """With its major version."""
    assert f"`{load_schema()['$id']}`" in PAGE
    assert re.search(r"/v\d+\.json$", load_schema()["$id"])
