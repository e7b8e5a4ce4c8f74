"""The workflows on GitHub do what `.ci/run` does, with the rights that they need and with nobody else's moving code."""

import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = ("zizmor", "actionlint")
MAY_WRITE = {
    ("release", "image"): {"packages", "id-token", "attestations"},
    ("release", "github"): {"contents", "id-token", "attestations"},
    ("release", "pypi"): {"id-token"},
}
"""Workflow and job -> what it may write. No other job may write anything."""


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Every job with the names of its workflow and of itself."""
    loaded = [(path.stem, yaml.safe_load(path.read_text("utf-8"))) for path in WORKFLOWS]
    return [(workflow, name, job) for workflow, content in loaded for name, job in content["jobs"].items()]


def steps(job: dict[str, Any], key: str) -> list[str]:
    return [step[key] for step in job["steps"] if key in step]


def targets_called(text: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z0-9-]+)", text))


def find_tool(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def test_actions__are_pinned_by_commit_and_say_their_version() -> None:
    """A tag can be moved; a commit can't. The comment is what people and Dependabot read."""
    for path in WORKFLOWS:
        lines = re.findall(r"^.*\buses: .*$", path.read_text("utf-8"), re.MULTILINE)
        assert lines
        for line in lines:
            assert re.search(r"uses: [\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), f"{path.name}: {line}"


def test_actions__of_one_name_have_one_version() -> None:
    """No job stays behind when an action is updated."""
    text = "\n".join(path.read_text("utf-8") for path in WORKFLOWS)
    versions = set(re.findall(r"uses: (.*)", text))
    assert len({version.partition("@")[0] for version in versions}) == len(versions)


def test_permissions__are_none_but_for_what_a_job_names() -> None:
    """No workflow has rights of its own, and only those jobs may write that publish something."""
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text("utf-8"))["permissions"] == {}, path.name
    writing = {}
    for workflow, name, job in jobs():
        assert set(job["permissions"].values()) <= {"read", "write"}, name
        if rights := {right for right, kind in job["permissions"].items() if kind == "write"}:
            writing[workflow, name] = rights
    assert writing == MAY_WRITE


def test_jobs__keep_no_credentials_and_end() -> None:
    """A checkout leaves no token behind; no job goes on for six hours, GitHub's own limit."""
    for _, name, job in jobs():
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}, name


def test_steps__put_no_expression_into_a_shell() -> None:
    """What somebody named a branch or a tag is data, and must not become a command."""
    for _, name, job in jobs():
        assert not any("${{" in script for script in steps(job, "run")), name


def test_ci__calls_make_targets_and_every_one_that_the_local_script_calls() -> None:
    """There is one description of each check, which people run as well."""
    scripts = [script for workflow, _, job in jobs() if workflow == "ci" for script in steps(job, "run")]
    assert all(re.fullmatch(r"make [a-z0-9-]+", script) for script in scripts)
    called = set().union(*map(targets_called, scripts))
    assert targets_called((ROOT / ".ci" / "run").read_text("utf-8")) <= called
    defined = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert called <= defined
    assert {"coverage", "dist", "workflows"} <= called


def test_release__passes_the_local_script_first_and_builds_with_make() -> None:
    """What is published has been checked in the same run, and is built as anybody would build it."""
    release = {name: job for workflow, name, job in jobs() if workflow == "release"}
    assert steps(release["check"], "run") == [".ci/run"]
    assert "check" in release["image"]["needs"]
    assert {"package", "image"} == set(release["github"]["needs"])
    assert release["pypi"]["needs"] == "github"
    assert steps(release["package"], "run") == ['make dist TAG="$GITHUB_REF_NAME"']
    assert any(script.startswith("make image ") for script in steps(release["image"], "run"))


def test_ci__tests_the_versions_of_python_that_the_package_names() -> None:
    """The classifiers, the lower bound and the matrix say the same."""
    metadata = importlib.metadata.metadata("slimfaas-jobs")
    named = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier")), re.M)
    (matrix,) = [job["strategy"]["matrix"]["python"] for _, _, job in jobs() if "strategy" in job]
    assert matrix == named
    assert metadata["Requires-Python"] == f">={named[0]}"


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
    ],
)
def test_github_files__have_the_form_that_github_expects(schema: str, files: list[Path]) -> None:
    """By the schemas that check-jsonschema brings along."""
    done = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", schema, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not any(map(find_tool, TOOLS)), reason="`make workflows` installs zizmor and actionlint")
def test_workflows__have_no_finding_of_the_linters_that_are_installed() -> None:
    """As `make workflows` runs them."""
    commands = {"zizmor": ["--offline", "--quiet", "--persona", "pedantic", ".github"], "actionlint": []}
    for name, arguments in commands.items():
        if tool := find_tool(name):
            done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_pre_commit__runs_the_tools_of_the_makefile_and_the_hook_that_we_offer() -> None:
    """Nothing is checked in another way than `make lint` checks it."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    (offered,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    own = hooks[offered["id"]]
    assert (own["entry"], own["types_or"]) == (f".venv/bin/{offered['entry']}", offered["types_or"])
    assert hooks["lint"]["entry"] == "make lint"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in ("ruff-check", "ruff-format"):
        tool = " ".join(hooks[name]["entry"].split()[:2]).removeprefix(".venv/bin/")
        assert f"$(BIN)/{tool} " in makefile


def test_mutation__names_modules_and_tests_that_exist() -> None:
    """A module that has moved would be left out without a word."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    for key in ("source_paths", "only_mutate", "also_copy", "pytest_add_cli_args_test_selection"):
        for name in settings["mutmut"][key].split():
            assert (ROOT / name).exists(), f"setup.cfg, [mutmut] {key}: {name}"
