"""What is read from a Dockerfile; and what ours says, whoever builds it."""

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


def test_stages_steps_and_settings_are_read() -> None:
    """Continued lines, comments and references are what an engine takes them for."""
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
def test_what_is_not_understood_is_an_error(line: str) -> None:
    """Nothing is passed over in silence: a test of less than the whole file would be none."""
    with pytest.raises(ValueError, match="not understood"):
        read_dockerfile(f"FROM x\n{line}\n", {})


def last_stage() -> Stage:
    return read_dockerfile((ROOT / "Dockerfile").read_text("utf-8"), ENVIRONMENT)[-1]


def test_our_image_says_what_a_cluster_needs_to_know() -> None:
    """A user by number, so that `runAsNonRoot` can be checked; the manifests' port; where it comes from."""
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


def test_the_program_is_started_by_no_shell() -> None:
    """A shell as process 1 would keep signals from it."""
    assert last_stage().entrypoint[0] == "gunicorn"
    assert json.dumps(list(last_stage().entrypoint)) in (ROOT / "Dockerfile").read_text("utf-8")


def test_all_that_is_copied_is_there() -> None:
    """The build context holds what the Dockerfile names, and `.dockerignore` keeps none of it out."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for stage in read_dockerfile((ROOT / "Dockerfile").read_text("utf-8"), ENVIRONMENT):
        for step in stage.steps:
            if step.instruction == "COPY" and not step.stage:
                for name in step.arguments[:-1]:
                    assert (ROOT / name).exists(), name
                    assert f"!{name}" in ignored, name
