"""The demo fails when it has not seen what it is there to show."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import responses

from devcluster.demo import follow, run_job
from devcluster.launch import DemoError

URL = "http://127.0.0.1:5000"
RUN = f"{URL}/job/fibonacci/abc"


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    """A service that answers as a test says."""
    with responses.RequestsMock() as answers:
        yield answers


def state(status: str, message: str = "") -> dict[str, str]:
    return {"Id": "abc", "Name": "fibonacci-slimfaas-job-abc", "Status": status, "Message": message}


def test_follow__each_change_of_a_run__is_printed_once(
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


def test_run_job__refused_run__fails(service: responses.RequestsMock, tmp_path: Path) -> None:
    """Without a 202 there is nothing to show."""
    service.post(f"{URL}/job/fibonacci", status=503, body="away")
    with pytest.raises(DemoError, match="not accepted"):
        run_job(URL, tmp_path / "kubeconfig")


def test_run_job__failed_run__fails_with_its_message(service: responses.RequestsMock, tmp_path: Path) -> None:
    """A failed run is no result, and its message is passed on."""
    service.post(f"{URL}/job/fibonacci", status=202, headers={"Location": "/job/fibonacci/abc"}, json={})
    service.get(RUN, json=state("Failed", "BackoffLimitExceeded"))
    with pytest.raises(DemoError, match="Failed: BackoffLimitExceeded"):
        run_job(URL, tmp_path / "kubeconfig")


def test_follow__run_that_cannot_be_read__fails(service: responses.RequestsMock) -> None:
    """An error of the service is passed on."""
    service.get(RUN, status=404, body="there is no such run")
    with pytest.raises(DemoError, match="404 there is no such run"):
        follow(RUN)
