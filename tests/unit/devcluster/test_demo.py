"""The demo fails when it has not seen what it is there to show."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses

from devcluster.demo import DemoError, follow, main, run_job

URL = "http://127.0.0.1:5000"
RUN = f"{URL}/job/fibonacci/abc"


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    """A service that answers as a test says."""
    with responses.RequestsMock() as answers:
        yield answers


@pytest.fixture
def signals() -> Iterator[None]:
    """What a demo does about signals ends with the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def state(status: str, message: str = "") -> dict[str, str]:
    return {"Id": "abc", "Name": "fibonacci-slimfaas-job-abc", "Status": status, "Message": message}


def test_every_change_of_a_run_is_shown_once(
    service: responses.RequestsMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run waits for is printed when it changes, until the run has ended."""
    for status, message in (
        ("Queued", "waits for x"),
        ("Queued", "waits for x"),
        ("Queued", "waits for a slot"),
        ("Succeeded", ""),
    ):
        service.get(RUN, json=state(status, message))
    assert follow(RUN)["Status"] == "Succeeded"
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert shown == ["Queued     waits for x", "Queued     waits for a slot", "Succeeded"]


def test_a_run_that_is_refused_fails_the_demo(service: responses.RequestsMock, tmp_path: Path) -> None:
    """Without a 202 there is nothing to show."""
    service.post(f"{URL}/job/fibonacci", status=503, body="away")
    with pytest.raises(DemoError, match="not accepted"):
        run_job(URL, tmp_path / "kubeconfig")


def test_a_run_that_fails_fails_the_demo(service: responses.RequestsMock, tmp_path: Path) -> None:
    """A failed run is no result, and its message is passed on."""
    service.post(f"{URL}/job/fibonacci", status=202, headers={"Location": "/job/fibonacci/abc"}, json={})
    service.get(RUN, json=state("Failed", "BackoffLimitExceeded"))
    with pytest.raises(DemoError, match="Failed: BackoffLimitExceeded"):
        run_job(URL, tmp_path / "kubeconfig")


def test_a_run_that_can_not_be_read_fails_the_demo(service: responses.RequestsMock) -> None:
    """An error of the service is passed on."""
    service.get(RUN, status=404, body="there is no such run")
    with pytest.raises(DemoError, match="404 there is no such run"):
        follow(RUN)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("port", ["0", "x", "65536", "-1"])
def test_a_port_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """Before anything is started."""
    monkeypatch.setenv("PORT", port)
    assert main(["--keep"]) == 1
    assert "not a port number" in capsys.readouterr().err


@pytest.mark.usefixtures("signals")
def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever listens there isn't the service that was to be started, and must not be taken for it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        assert main(["--keep"]) == 1
    assert "is taken; choose another one" in capsys.readouterr().err
