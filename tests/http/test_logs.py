"""What a run has printed: which attempt's log an answer is, which part of it, and why there is none."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import Caller, check_problem
from tests.support.faults import Fault, FaultProxy, GoSilent, Refuse
from tests.support.servers import Server, write_kubeconfig

DEADLINE_SECONDS = 20.0

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
    """Calls the application while its dispatcher runs; its API server is behind the proxy."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
    app = create_app(Settings(configuration=json.dumps(DEFINITIONS), kubeconfig=str(kubeconfig)))
    dispatcher = app.extensions["slimfaas-jobs"].dispatcher
    dispatcher.start()
    yield Caller(app.test_client())
    dispatcher.stop()


def run(caller: Caller, *args: str, status: str = "Succeeded", definition: str = "shell", **fields: Any) -> str:
    """Start a run and wait until it has this status; its location."""
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
def test_a_log_is_passed_on_as_the_container_wrote_it(dispatching: Caller) -> None:
    """Bytes that are no text, and a last line without an end, included."""
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 2000 + b'end')"
    location = run(dispatching, sys.executable, "-c", program)
    answer = dispatching.get(f"{location}/logs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.data.rstrip(b"\n") == bytes(range(256)) * 2000 + b"end"


@PRINTS
def test_tail_lines_and_since_seconds_choose_the_end_of_a_log(dispatching: Caller) -> None:
    """As kubectl's options do."""
    location = run(dispatching, "sh", "-c", "for i in 1 2 3 4 5; do echo $i; done")
    assert dispatching.get(f"{location}/logs?tailLines=2").text == "4\n5\n"
    assert dispatching.get(f"{location}/logs?tailLines=0").text == ""
    assert dispatching.get(f"{location}/logs?sinceSeconds=3600&tailLines=1").text == "5\n"
    assert dispatching.get(f"{location}/logs?follow=true&tailLines=1").text == "5\n"


@PRINTS
def test_head_says_that_there_is_a_log_and_reads_none_of_it(dispatching: Caller, proxy: FaultProxy) -> None:
    """Also with `follow`, which would last."""
    location = run(dispatching, "echo", "one")
    answer = dispatching.call("HEAD", f"{location}/logs?follow=true")
    assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert not [request for request in proxy.requests if request.path.endswith("/log")]


def count_up(folder: Path, text: str) -> str:
    """A script that prints which attempt it is, and goes on as `$n`, that number, makes it."""
    # Longer than the second to which Kubernetes cuts the times by which attempts are ordered.
    return f"cd {folder}; echo >> count; n=$(wc -l < count); echo attempt $n; sleep 1.1; {text}"


@PRINTS
def test_every_attempt_has_its_log(dispatching: Caller, tmp_path: Path) -> None:
    """The last one's, unless another is asked for."""
    location = run(dispatching, "sh", "-c", count_up(tmp_path, "exit $((3 - n))"), BackoffLimit=4)
    assert dispatching.get(f"{location}/logs").text == "attempt 3\n"
    assert dispatching.get(f"{location}/logs?previous=true").text == "attempt 2\n"
    for number in (1, 2, 3):
        assert dispatching.get(f"{location}/logs?attempt={number}").text == f"attempt {number}\n"
        assert dispatching.get(f"{location}/logs?attempt={number}&follow=true").text == f"attempt {number}\n"
    assert "attempt 4" in check_problem(dispatching.get(f"{location}/logs?attempt=4"), 404)["detail"]


@PRINTS
def test_a_restarted_container_is_an_attempt_like_any_other(dispatching: Caller, tmp_path: Path) -> None:
    """The kubelet keeps the log of the last container and of the one before."""
    text = count_up(tmp_path, "exit $((3 - n))")
    location = run(dispatching, "sh", "-c", text, BackoffLimit=4, RestartPolicy="OnFailure")
    assert dispatching.get(f"{location}/logs").text == "attempt 3\n"
    assert dispatching.get(f"{location}/logs?previous=true").text == "attempt 2\n"
    assert dispatching.get(f"{location}/logs?attempt=2").text == "attempt 2\n"
    assert "kept" in check_problem(dispatching.get(f"{location}/logs?attempt=1"), 404)["detail"]


@PRINTS
@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_following_goes_on_with_the_next_attempt_until_the_run_ends(
    dispatching: Caller, tmp_path: Path, policy: str
) -> None:
    """Whoever follows a run sees all that is printed from then on."""
    text = count_up(tmp_path, "exit $((3 - n))")
    location = run(dispatching, "sh", "-c", text, status="Running", BackoffLimit=4, RestartPolicy=policy)
    assert dispatching.get(f"{location}/logs?follow=true").text == "attempt 1\nattempt 2\nattempt 3\n"
    assert dispatching.get(location).json["Status"] == "Succeeded"


@PRINTS
def test_following_one_attempt_ends_with_it(dispatching: Caller, tmp_path: Path) -> None:
    """Though the run goes on."""
    text = count_up(tmp_path, "exit $((2 - n))")
    location = run(dispatching, "sh", "-c", text, status="Running", BackoffLimit=4)
    assert dispatching.get(f"{location}/logs?follow=true&attempt=1").text == "attempt 1\n"


@PRINTS
def test_there_is_no_attempt_before_the_first(dispatching: Caller) -> None:
    """Nor one for `previous` to mean."""
    location = run(dispatching, "echo", "one")
    assert "before" in check_problem(dispatching.get(f"{location}/logs?previous=true"), 404)["detail"]


def test_any_run_that_ended_has_a_log(dispatching: Caller) -> None:
    """On every server, followed or not."""
    location = run(dispatching, "echo", "nothing runs here")
    assert dispatching.get(f"{location}/logs").text == "nothing runs here\n"
    assert dispatching.get(f"{location}/logs?follow=true").text == "nothing runs here\n"


def test_a_queued_run_has_no_log_and_says_what_it_waits_for(dispatching: Caller) -> None:
    """In the words of the run itself."""
    location = run(dispatching, definition="waiting", status="Queued")
    message = dispatching.get(location).json["Message"]
    for query in ("", "?follow=true", "?attempt=1"):
        answer = dispatching.get(f"{location}/logs{query}")
        assert check_problem(answer, 409)["detail"] == message
    assert "nobody" in message


def test_a_run_that_can_not_start_has_no_log_and_says_why(dispatching: Caller) -> None:
    """In the kubelet's words."""
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
        ("container=other", "container"),
    ],
)
def test_a_parameter_that_can_not_be_is_named(caller: Caller, query: str, named: str) -> None:
    """Nothing is ignored, and nothing but what is meant reaches the API server."""
    assert named in check_problem(caller.get(f"/job/public/aaaaaaaaaaaa/logs?{query}"), 400)["detail"]


def test_a_run_that_is_not_there_has_no_log(caller: Caller) -> None:
    """404, as for the run itself."""
    for run_id in ("aaaaaaaaaaaa", "a", ".."):
        check_problem(caller.get(f"/job/public/{run_id}/logs"), 404)
    check_problem(caller.get("/job/unknown/aaaaaaaaaaaa/logs"), 404)


def test_the_log_of_a_private_run_is_private(caller: Caller) -> None:
    """Whether there is such a run or not."""
    check_problem(caller.get("/job/private/aaaaaaaaaaaa/logs"), 403)


def test_an_api_server_that_can_not_give_the_log_means_503(dispatching: Caller, proxy: FaultProxy) -> None:
    """And the place is free again."""
    location = run(dispatching, "echo", "one")
    proxy.add(Fault(Refuse(500, "InternalError", "no kubelet"), path=r"/log$", times=None))
    for _ in range(70):
        check_problem(dispatching.get(f"{location}/logs"), 503)


def test_a_silent_api_server_means_503_in_the_end(dispatching: Caller, proxy: FaultProxy) -> None:
    """A log that is there already comes at once, or not at all."""
    location = run(dispatching, "echo", "one")
    proxy.add(Fault(GoSilent(), path=r"/log$"))
    check_problem(dispatching.get(f"{location}/logs"), 503)
