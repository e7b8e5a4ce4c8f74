"""What `make dev` refuses, and what it prints."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import dev, launch
from schemas.configuration import parse_configuration

URL = "http://127.0.0.1:30021"


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the command does about signals ends with the test."""
    monkeypatch.setattr(dev, "end_with_starter", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("port", ["0", "x", "65536", "-1"])
def test_dev__port_that_is_none__is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """Before anything is started."""
    monkeypatch.setenv("PORT", port)
    assert dev.main([]) == 1
    assert "not a port number" in capsys.readouterr().err


@pytest.mark.usefixtures("signals")
def test_dev__port_that_is_taken__is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever listens there isn't the service that was to be started, and must not be taken for it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        assert dev.main([]) == 1
    assert "is in use; choose another one" in capsys.readouterr().err


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("option", ["--jobs", "--images"])
def test_dev__file_that_does_not_exist__is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    """By its name."""
    monkeypatch.setenv("PORT", str(launch.find_free_port()))
    assert dev.main([option, str(tmp_path / "none.json")]) == 1
    assert f"file not found: {tmp_path}/none.json" in capsys.readouterr().err


def test_describe__own_definitions__names_a_command_for_each_public_one(tmp_path: Path) -> None:
    """And says of the private ones that nobody here may call them; nothing has to be filled in."""
    jobs = tmp_path / "jobs.json"
    definitions = {"report": {"Image": "a:1", "Visibility": "Public"}, "hidden": {"Image": "a:1"}}
    jobs.write_text(json.dumps({"Configurations": definitions}), "utf-8")
    text = dev.describe(URL, tmp_path / "kubeconfig", jobs, None)
    assert f"curl -X POST {URL}/job/report\n" in text
    assert f"export SLIMFAAS_URL={URL}\n" in text
    assert re.search(r"slimfaas-jobs run report --follow$", text, re.MULTILINE)
    assert "/job/hidden" not in text
    assert text.count("hidden") == 1
    assert f"Open {URL}/ui in a browser" in text
    assert f"curl {URL}/jobs/status\n" in text
    assert "<" not in text


def test_describe__run_that_exists__is_named_by_its_id(tmp_path: Path) -> None:
    """Its commands work as they stand."""
    jobs = launch.write_demo_jobs(tmp_path)
    text = dev.describe(URL, tmp_path / "kubeconfig", jobs, "/job/fibonacci/flskh5ipglrj")
    assert f"curl {URL}/job/fibonacci/flskh5ipglrj\n" in text
    assert f"curl {URL}/job/fibonacci/flskh5ipglrj/logs\n" in text
    assert "<" not in text


def test_changes__runs__are_told_once_with_a_command() -> None:
    """The log of one that has ended, else how it stands."""
    before = {("report", "aaa"): "started", ("report", "bbb"): "queued"}
    after = before | {("report", "aaa"): "failed", ("a", "ccc"): "queued"}
    assert list(dev.changes(URL, before, after)) == [
        f"report aaa failed     curl {URL}/job/report/aaa/logs",
        f"a ccc queued     curl {URL}/job/a/ccc",
    ]


@pytest.mark.parametrize("state", ["queued", "started"])
def test_changes__run_that_is_cancelled__is_told_once(state: str) -> None:
    """It may be seen while it ends, or be gone at once. A run that has ended before is removed without a line."""
    run, ended = ("report", "aaa"), {("report", "bbb"): "succeeded"}
    assert list(dev.changes(URL, {run: state, **ended}, {})) == ["report aaa cancelled"]
    assert list(dev.changes(URL, {run: state}, {run: "cancelled"})) == ["report aaa cancelled"]
    assert list(dev.changes(URL, {run: "cancelled"}, {})) == []


def test_identify__takes_the_id_from_the_name_of_a_job() -> None:
    assert dev.identify("report-slimfaas-job-flskh5ipglrj", "report") == ("report", "flskh5ipglrj")
    assert dev.identify("report-abcdefgh-29453760", "report") == ("report", "report-abcdefgh-29453760")


def test_demo_jobs__have_a_schedule_of_every_minute(tmp_path: Path) -> None:
    (schedule,) = parse_configuration(launch.write_demo_jobs(tmp_path, every_minute=True).read_text("utf-8"))[
        "fibonacci"
    ].schedules
    assert schedule.cron == "* * * * *"
