"""The Dockerfile parser, and the content of this repository's Dockerfile."""

import importlib.metadata
import json
import re
import subprocess

import pytest

from tests.image.base import ENVIRONMENT
from tests.image.build import ROOT
from tests.image.dockerfile import Stage, Step, read_dockerfile

TEXT = """\
# a comment
ARG BASE=python:3
FROM ${BASE} AS build
WORKDIR /src
RUN one \
  && two   # not a comment of ours
# between
COPY a b/ ./

FROM other
COPY --from=build /x /y
ENV PATH=/opt/bin:$PATH A="b c"
LABEL title="T" \
      text="with spaces"
USER 1:2
EXPOSE 5000
ENTRYPOINT ["run", "it"]
"""


def test_read_dockerfile__returns_stages_steps_and_settings() -> None:
    """Continued lines, comments and references are read as a container engine reads them."""
    build, last = read_dockerfile(TEXT, {"PATH": "/bin"})
    assert build == Stage(
        "build",
        "python:3",
        [
            Step("WORKDIR", ("/src",)),
            Step("RUN", ("one   && two   # not a comment of ours",)),
            Step("COPY", ("a", "b/", "./")),
        ],
    )
    assert last == Stage(
        "",
        "other",
        [Step("COPY", ("/x", "/y"), "build")],
        {"PATH": "/opt/bin:/bin", "A": "b c"},
        {"title": "T", "text": "with spaces"},
        "1:2",
        [5000],
        ("run", "it"),
    )


@pytest.mark.parametrize("line", ["ADD a b", "COPY --chown=1 a b", "HEALTHCHECK CMD true", 'SHELL ["x"]'])
def test_read_dockerfile__unsupported_instruction_is_an_error(line: str) -> None:
    """An ignored instruction would leave a part of the Dockerfile untested."""
    with pytest.raises(ValueError, match="not supported"):
        read_dockerfile(f"FROM x\n{line}\n", {})


def last_stage() -> Stage:
    return read_dockerfile((ROOT / "Dockerfile").read_text("utf-8"), ENVIRONMENT)[-1]


def test_dockerfile__has_a_numeric_user_the_port_and_labels() -> None:
    """Kubernetes can check `runAsNonRoot` only for a numeric user."""
    stage = last_stage()
    user, group = stage.user.split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert stage.ports == [5000]
    metadata = importlib.metadata.metadata("slimfaas-jobs")
    label = "org.opencontainers.image"
    assert stage.labels[f"{label}.description"] == metadata["Summary"]
    assert stage.labels[f"{label}.authors"] == metadata["Author"]
    assert stage.labels[f"{label}.licenses"] == metadata["License-Expression"]
    assert stage.labels[f"{label}.source"] == metadata["Home-page"]
    assert {f"{label}.title", f"{label}.url", f"{label}.documentation"} <= stage.labels.keys()


def test_make_image__labels_the_image_with_version_and_revision() -> None:
    """The version comes from setup.cfg, the only place where it is written."""
    planned = subprocess.run(
        ["make", "--dry-run", "image", "CONTAINERS=engine"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    labels = dict(re.findall(r"--label org\.opencontainers\.image\.(\w+)=(\S*)", planned))
    assert labels["version"] == importlib.metadata.version("slimfaas-jobs")
    assert labels.keys() == {"version", "revision"}


def test_entrypoint__runs_without_a_shell() -> None:
    """A shell as process 1 would not pass on signals."""
    assert last_stage().entrypoint[0] == "slimfaas-jobs"
    assert json.dumps(list(last_stage().entrypoint)) in (ROOT / "Dockerfile").read_text("utf-8")


def test_copied_files__exist_and_are_in_the_build_context() -> None:
    """`.dockerignore` must not exclude them."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for stage in read_dockerfile((ROOT / "Dockerfile").read_text("utf-8"), ENVIRONMENT):
        for step in stage.steps:
            if step.instruction == "COPY" and not step.stage:
                for name in step.arguments[:-1]:
                    assert (ROOT / name).exists(), name
                    assert f"!{name}" in ignored, name
