"""`slimfaas-jobs template`: a configuration of the Jobs that a manifest has."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from schemas.configuration import parse_configuration

POD = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": {"template": POD}}

STORED = {
    "kind": "Job",
    "metadata": {
        "name": "train",
        "namespace": "ml",
        "uid": "u",
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "labels": {"team": "data", "batch.kubernetes.io/job-name": "train"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    },
    "spec": {
        "suspend": False,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {**POD, "metadata": {"labels": {"job-name": "train", "controller-uid": "u", "team": "data"}}},
    },
    "status": {"succeeded": 1},
}


def convert(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> tuple[int, Any, str]:
    """The exit code, the printed configuration and what is told of it."""
    file = tmp_path / "manifest.yaml"
    file.write_text(text, "utf-8")
    code = main(["template", str(file)])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if printed.out else None, printed.err


def test_template__prints_a_definition_for_each_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cron_job = {"kind": "CronJob", "metadata": {"name": "night"}, "spec": {"jobTemplate": {"spec": {"template": POD}}}}
    listed = {"kind": "List", "items": [cron_job, {"kind": "ConfigMap"}]}

    code, configuration, _ = convert(tmp_path, capsys, f"{json.dumps(JOB)}\n---\n{json.dumps(listed)}\n---\n")

    assert code == 0
    assert list(configuration["Configurations"]) == ["train", "night"]
    assert list(parse_configuration(json.dumps(configuration))) == ["train", "night"]


def test_template__leaves_out_what_the_cluster_has_set_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, configuration, told = convert(tmp_path, capsys, json.dumps(STORED))

    assert code == 0
    job = configuration["Configurations"]["train"]["JobTemplate"]
    assert job["metadata"] == {"labels": {"team": "data"}}
    assert job["spec"] == {"template": {**POD, "metadata": {"labels": {"team": "data"}}}}
    assert parse_configuration(json.dumps(configuration))
    for pointer in (
        "/metadata/namespace",
        "/spec/selector",
        "/spec/suspend",
        "/spec/template/metadata/labels/job-name",
    ):
        assert f"train: left out {pointer}: " in told


def test_template__keeps_what_only_a_person_can_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Job with several pods becomes something else without its `completions`; `validate` refuses it."""
    job = {**JOB, "spec": {"completions": 3, "template": POD}}

    _, configuration, _ = convert(tmp_path, capsys, json.dumps(job))

    assert configuration["Configurations"]["train"]["JobTemplate"]["spec"]["completions"] == 3


@pytest.mark.parametrize("text", ["", "kind: ConfigMap", "- 5", "kind: Job", "kind: Job\nspec: 5", "{", "a: b: c"])
def test_template__fails_where_there_is_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, configuration, told = convert(tmp_path, capsys, text)

    assert (code, configuration) == (1, None)
    assert told


def test_template__reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(JOB)))

    assert main(["template", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["Configurations"].keys() == {"train"}


def test_template__names_a_file_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["template", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml" in capsys.readouterr().err


def test_template__takes_the_queue_and_the_priority_of_kueue_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"kueue.x-k8s.io/queue-name": "team-a", "kueue.x-k8s.io/priority-class": "high"}
    text = json.dumps({**JOB, "metadata": {"name": "train", "labels": own}})
    code, configuration, told = convert(tmp_path, capsys, text)
    assert code == 0
    assert told.count("Queue and Priority of the definition") == 2
    definition = parse_configuration(json.dumps(configuration))["train"]
    assert (definition.queue, definition.priority) == ("team-a", "high")
