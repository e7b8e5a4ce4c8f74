"""The log of a run: which attempt, which part of it, and the errors if there is none."""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import Caller, check_problem
from tests.support.faults import Fault, FaultProxy, GoSilent, Refuse
from tests.support.selection import slow
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS

PRINTS = pytest.mark.embedded_only("the nodes of the real control plane run no processes")

BUSYBOX: dict[str, Any] = {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": 4}
DEFINITIONS: dict[str, Any] = {
    "Configurations": {
        "shell": BUSYBOX,
        "waiting": {**BUSYBOX, "DependsOn": ["nobody"]},
        "broken": {**BUSYBOX, "Image": "missing.invalid/nothing:1"},
    }
}


@pytest.fixture
def dispatching(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Iterator[Caller]:
    """Send requests to the application while its dispatcher runs; its API server is behind the proxy."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
    app = create_app(Settings(configuration=json.dumps(DEFINITIONS), kubeconfig=str(kubeconfig)))
    dispatcher = app.extensions["slimfaas-jobs"].dispatcher
    dispatcher.start()
    yield Caller(app.test_client())
    dispatcher.stop()


def run(caller: Caller, *args: str, status: str = "Succeeded", definition: str = "shell", **fields: Any) -> str:
    """Start a run, wait until it has this status, and return its location."""
    body = json.dumps({"Args": list(args), **fields}) if args else b""
    accepted = caller.post(f"/job/{definition}", body)
    assert accepted.status_code == 202, accepted.text
    location = accepted.headers["Location"]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (state := caller.get(location).json)["Status"] != status:
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return location


@PRINTS
def test_log__is_passed_on_byte_for_byte(dispatching: Caller) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 2000 + b'end')"
    location = run(dispatching, sys.executable, "-c", program)
    response = dispatching.get(f"{location}/logs")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.data.rstrip(b"\n") == bytes(range(256)) * 2000 + b"end"


@PRINTS
def test_log__is_cut_by_tail_lines_and_since_seconds(dispatching: Caller) -> None:
    location = run(dispatching, "sh", "-c", "for i in 1 2 3 4 5; do echo $i; done")
    assert dispatching.get(f"{location}/logs?tailLines=2").text == "4\n5\n"
    assert dispatching.get(f"{location}/logs?tailLines=0").text == ""
    assert dispatching.get(f"{location}/logs?sinceSeconds=3600&tailLines=1").text == "5\n"
    assert dispatching.get(f"{location}/logs?follow=true&tailLines=1").text == "5\n"


@PRINTS
def test_log__is_not_read_for_head(dispatching: Caller, proxy: FaultProxy) -> None:
    location = run(dispatching, "echo", "one")
    response = dispatching.call("HEAD", f"{location}/logs?follow=true")
    assert (response.status_code, response.content_type) == (200, "text/plain; charset=utf-8")
    assert not [request for request in proxy.requests if request.path.endswith("/log")]


def count_up(folder: Path, text: str) -> str:
    """Return a script that prints the number of its attempt, `$n`, and then continues with `text`."""
    # Longer than a second, to which Kubernetes rounds the times that order the attempts.
    return f"cd {folder}; echo >> count; n=$(wc -l < count); echo attempt $n; sleep 1.1; {text}"


@PRINTS
@pytest.mark.slow
def test_log__is_the_last_attempts_unless_another_is_asked_for(dispatching: Caller, tmp_path: Path) -> None:
    location = run(dispatching, "sh", "-c", count_up(tmp_path, "exit $((3 - n))"), BackoffLimit=4)
    assert dispatching.get(f"{location}/logs").text == "attempt 3\n"
    assert dispatching.get(f"{location}/logs?previous=true").text == "attempt 2\n"
    for number in (1, 2, 3):
        assert dispatching.get(f"{location}/logs?attempt={number}").text == f"attempt {number}\n"
        assert dispatching.get(f"{location}/logs?attempt={number}&follow=true").text == f"attempt {number}\n"
    assert "attempt 4" in check_problem(dispatching.get(f"{location}/logs?attempt=4"), 404)["detail"]


@pytest.mark.slow
@PRINTS
def test_log__counts_a_restarted_container_as_an_attempt(dispatching: Caller, tmp_path: Path) -> None:
    """The kubelet keeps the logs of the last container and of the one before."""
    text = count_up(tmp_path, "exit $((3 - n))")
    location = run(dispatching, "sh", "-c", text, BackoffLimit=4, RestartPolicy="OnFailure")
    assert dispatching.get(f"{location}/logs").text == "attempt 3\n"
    assert dispatching.get(f"{location}/logs?previous=true").text == "attempt 2\n"
    assert dispatching.get(f"{location}/logs?attempt=2").text == "attempt 2\n"
    assert "kept" in check_problem(dispatching.get(f"{location}/logs?attempt=1"), 404)["detail"]


GATE = "until test -e go; do sleep 0.05; done"


@contextmanager
def opened_once_read(proxy: FaultProxy, folder: Path) -> Iterator[None]:
    """Let scripts pass `GATE` once the API server is asked for a log."""

    def open_gate() -> None:
        proxy.wait_for(lambda request: request.path.endswith("/log"))
        (folder / "go").touch()

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_gate)
        yield
        opening.result()


@PRINTS
@pytest.mark.parametrize("policy", ["Never", *slow("OnFailure")])
def test_followed_log__continues_with_the_next_attempt(
    dispatching: Caller, proxy: FaultProxy, tmp_path: Path, policy: str
) -> None:
    text = count_up(tmp_path, f"{GATE}; exit $((3 - n))")
    location = run(dispatching, "sh", "-c", text, status="Running", BackoffLimit=4, RestartPolicy=policy)
    with opened_once_read(proxy, tmp_path):
        assert dispatching.get(f"{location}/logs?follow=true").text == "attempt 1\nattempt 2\nattempt 3\n"
    assert dispatching.get(location).json["Status"] == "Succeeded"


@PRINTS
def test_followed_log__of_one_attempt_ends_with_the_attempt(
    dispatching: Caller, proxy: FaultProxy, tmp_path: Path
) -> None:
    text = count_up(tmp_path, f"{GATE}; exit $((2 - n))")
    location = run(dispatching, "sh", "-c", text, status="Running", BackoffLimit=4)
    with opened_once_read(proxy, tmp_path):
        assert dispatching.get(f"{location}/logs?follow=true&attempt=1").text == "attempt 1\n"


@PRINTS
def test_log__of_the_attempt_before_the_first_gets_404(dispatching: Caller) -> None:
    location = run(dispatching, "echo", "one")
    assert "before" in check_problem(dispatching.get(f"{location}/logs?previous=true"), 404)["detail"]


def test_log__exists_for_a_finished_run(dispatching: Caller) -> None:
    location = run(dispatching, "echo", "nothing runs here")
    assert dispatching.get(f"{location}/logs").text == "nothing runs here\n"
    assert dispatching.get(f"{location}/logs?follow=true").text == "nothing runs here\n"


def test_log__of_a_queued_run_gets_409_with_the_reason(dispatching: Caller) -> None:
    """The detail is the run's own message."""
    location = run(dispatching, definition="waiting", status="Queued")
    message = dispatching.get(location).json["Message"]
    for query in ("", "?follow=true", "?attempt=1"):
        response = dispatching.get(f"{location}/logs{query}")
        assert check_problem(response, 409)["detail"] == message
    assert "nobody" in message


def test_log__of_a_run_that_can_not_start_gets_409_with_the_reason(dispatching: Caller) -> None:
    """The detail is the kubelet's message."""
    location = run(dispatching, definition="broken", status="ImagePullBackOff")
    detail = check_problem(dispatching.get(f"{location}/logs"), 409)["detail"]
    assert "ImagePull" in detail
    assert dispatching.call("HEAD", f"{location}/logs").status_code == 409


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("tailLines=-1", "tailLines"),
        ("tailLines=", "tailLines"),
        ("tailLines=1.5", "tailLines"),
        ("tailLines=2147483648", "tailLines"),
        ("tailLines=" + "9" * 3000, "tailLines"),
        ("tailLines=%C2%B2", "tailLines"),
        ("tailLines=1&tailLines=2", "tailLines"),
        ("sinceSeconds=0", "sinceSeconds"),
        ("attempt=0", "attempt"),
        ("follow=yes", "follow"),
        ("follow=", "follow"),
        ("previous=True", "previous"),
        ("previous=true&follow=true", "previous"),
        ("previous=true&attempt=1", "previous"),
        ("tail=5", "tail"),
        ("container=a&container=b", "container"),
    ],
)
def test_log__with_an_invalid_parameter_gets_400(caller: Caller, query: str, named: str) -> None:
    assert named in check_problem(caller.get(f"/job/public/aaaaaaaaaaaa/logs?{query}"), 400)["detail"]


def test_log__of_an_unknown_run_gets_404(caller: Caller) -> None:
    for run_id in ("aaaaaaaaaaaa", "a", "..."):
        check_problem(caller.get(f"/job/public/{run_id}/logs"), 404)
    check_problem(caller.get("/job/unknown/aaaaaaaaaaaa/logs"), 404)


def test_log__of_a_private_definition_gets_403(caller: Caller) -> None:
    check_problem(caller.get("/job/private/aaaaaaaaaaaa/logs"), 403)


def test_log__that_the_api_server_can_not_read_gets_503(dispatching: Caller, proxy: FaultProxy) -> None:
    """Each failed request frees its place, so 70 in a row are not refused for another reason."""
    location = run(dispatching, "echo", "one")
    proxy.add(Fault(Refuse(500, "InternalError", "no kubelet"), path=r"/log$", times=None))
    for _ in range(70):
        check_problem(dispatching.get(f"{location}/logs"), 503)


@pytest.mark.slow
def test_log__of_a_silent_api_server_gets_503(dispatching: Caller, proxy: FaultProxy) -> None:
    location = run(dispatching, "echo", "one")
    proxy.add(Fault(GoSilent(), path=r"/log$"))
    check_problem(dispatching.get(f"{location}/logs"), 503)
