"""Pods on the node: environment, logs, restarts, readiness, and termination."""

import base64
import http.client
import ipaddress
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiException, V1ContainerStatus

from devcluster.cluster import Cluster
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Apis, Eventually, Manifest, Model

pytestmark = OF_THE_EMBEDDED_CLUSTER

RunPod = Callable[..., Model]
Outcome = Callable[[str], Model]


@pytest.fixture
def run_pod(apis: Apis) -> RunPod:
    """Return a function that creates a pod with one container, whose script `sh` runs.

    The other arguments are fields of container and spec.
    """

    def run(
        name: str,
        script: str | None,
        restart_policy: str = "Never",
        spec: Manifest | None = None,
        metadata: Manifest | None = None,
        **container: Any,
    ) -> Model:
        command = {} if script is None else {"args": ["sh", "-c", script]}
        body = {
            "metadata": {"name": name, **(metadata or {})},
            "spec": {
                "restartPolicy": restart_policy,
                "containers": [{"name": "main", "image": "busybox:1", **command, **container}],
                **(spec or {}),
            },
        }
        return apis.core.create_namespaced_pod(apis.namespace, body)

    return run


@pytest.fixture
def outcome(apis: Apis, eventually: Eventually) -> Outcome:
    """Return a function that waits until a pod has ended, and returns its container's termination."""

    def wait(name: str) -> Model:
        pod = eventually(lambda: (pod := apis.pod(name)).status.phase in ("Succeeded", "Failed") and pod)
        return pod.status.container_statuses[0].state.terminated

    return wait


def waiting_state(apis: Apis, name: str) -> Any:
    statuses = apis.pod(name).status.container_statuses
    return statuses[0].state.waiting if statuses else None


def is_ready(pod: Model) -> bool:
    return any(found.type == "Ready" and found.status == "True" for found in pod.status.conditions or [])


class TestScheduling:
    """Which pods the node gets."""

    @pytest.mark.parametrize("waits", [{"schedulerName": "other"}, {"schedulingGates": [{"name": "example.com/x"}]}])
    def test_bind__skips_pods_of_other_schedulers_and_gated_pods(
        self, apis: Apis, run_pod: RunPod, outcome: Outcome, waits: Manifest
    ) -> None:
        """They wait without a node."""
        run_pod("waiting", "true", spec=waits)
        run_pod("next", "true")
        outcome("next")  # the node has handled the later pod
        pod = apis.pod("waiting")
        assert (pod.spec.node_name, pod.status.phase) == (None, "Pending")


class TestEnvironment:
    """The environment and command line of a program."""

    def test_environment__contains_nothing_of_the_clusters_own(
        self, apis: Apis, run_pod: RunPod, outcome: Outcome
    ) -> None:
        """Only the pod's variables and the node's minimum."""
        assert "HOME" in os.environ
        run_pod("env", "env", env=[{"name": "GREETING", "value": "hello"}])
        outcome("env")
        names = {line.partition("=")[0] for line in apis.log("env").splitlines()} - {
            "PWD",
            "SHLVL",
            "_",
        }  # set by the shell
        assert names == {"GREETING", "PATH", "HOSTNAME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}

    def test_environment__supports_every_source(self, apis: Apis, run_pod: RunPod, outcome: Outcome) -> None:
        """Literals, references, Secrets, ConfigMaps, the pod's fields and its resources."""
        secret = {"metadata": {"name": "s"}, "data": {"password": base64.b64encode(b"sesame").decode()}}
        apis.core.create_namespaced_secret(apis.namespace, secret)
        settings = {"metadata": {"name": "c"}, "data": {"color": "blue", "size": "9"}}
        apis.core.create_namespaced_config_map(apis.namespace, settings)
        env = [
            {"name": "A", "value": "a"},
            {"name": "B", "value": "$(A)$(color_x)-$$(A)-$(color)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
            {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "size"}}},
            {"name": "LEFT_OUT", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none", "optional": True}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
        ]
        run_pod(
            "sources",
            "env",
            env=env,
            envFrom=[{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "none", "optional": True}}],
            resources={"limits": {"memory": "2Mi", "cpu": "1500m"}},
            metadata={"labels": {"team": "blue"}},
        )
        outcome("sources")
        found = dict(line.split("=", 1) for line in apis.log("sources").splitlines())
        expected = {
            "A": "a", "B": "a$(color_x)-$(A)-blue", "color": "blue", "size": "9", "PASSWORD": "sesame", "SIZE": "9",
            "NAME": "sources", "TEAM": "blue", "IP": apis.pod("sources").status.pod_ip, "MEMORY": "2", "CPU": "2",
        }  # fmt: skip
        assert {name: found.get(name) for name in expected} == expected
        assert "LEFT_OUT" not in found

    def test_command__replaces_the_entrypoint_before_args(self, apis: Apis, run_pod: RunPod, outcome: Outcome) -> None:
        """As with a real image; references in both are expanded."""
        env = [{"name": "WHO", "value": "world"}]
        line = {"command": ["echo", "hello,"], "args": ["$(WHO)", "$(X)"]}
        run_pod("command", None, image="axaguildev/fibonacci-batch:1", env=env, **line)
        outcome("command")
        assert apis.log("command") == "hello, world $(X)\n"

    def test_missing_secret__delays_the_container_until_it_exists(
        self, apis: Apis, run_pod: RunPod, outcome: Outcome, eventually: Eventually
    ) -> None:
        """CreateContainerConfigError names the Secret."""
        env = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "late", "key": "p"}}}]
        run_pod("config", "echo $P", env=env)
        state = eventually(lambda: (state := waiting_state(apis, "config")) and state.message and state)
        assert (state.reason, state.message) == ("CreateContainerConfigError", 'secret "late" not found')
        secret = {"metadata": {"name": "late"}, "stringData": {}, "data": {"p": base64.b64encode(b"here").decode()}}
        apis.core.create_namespaced_secret(apis.namespace, secret)
        outcome("config")
        assert apis.log("config") == "here\n"


class TestOutcome:
    """Exit codes and termination messages."""

    def test_failed_container__fails_the_pod_with_code_and_reason(
        self, run_pod: RunPod, outcome: Outcome, apis: Apis
    ) -> None:
        """Error, with the exit code."""
        run_pod("three", "exit 3")
        ended = outcome("three")
        assert (ended.exit_code, ended.reason, ended.message) == (3, "Error", None)
        assert apis.pod("three").status.phase == "Failed"

    def test_signalled_program__has_exit_code_128_plus_signal(self, run_pod: RunPod, outcome: Outcome) -> None:
        """As in a shell."""
        run_pod("killed", "kill -KILL $$$$")  # Kubernetes expands this to `$$`
        assert outcome("killed").exit_code == 137

    def test_missing_program__is_start_error(self, run_pod: RunPod, outcome: Outcome) -> None:
        """The image exists, but its command does not."""
        run_pod("nothing", None, command=["no-such-program"])
        ended = outcome("nothing")
        assert (ended.exit_code, ended.reason) == (128, "StartError")
        assert ended.message == 'exec: "no-such-program": executable file not found in $PATH'

    def test_missing_working_directory__is_start_error(self, run_pod: RunPod, outcome: Outcome) -> None:
        """The program does not run in another directory instead."""
        run_pod("nowhere", "pwd", workingDir="/no/such/folder")
        assert outcome("nowhere").message == 'chdir to cwd ("/no/such/folder") failed: no such file or directory'

    def test_termination_message__falls_back_to_the_log_on_error(self, run_pod: RunPod, outcome: Outcome) -> None:
        """Only with FallbackToLogsOnError, and only if the container failed."""
        policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        run_pod("told", "echo a reason; exit 1", **policy)
        run_pod("quiet", "echo all is well", **policy)
        assert outcome("told").message == "a reason\n"
        assert outcome("quiet").message is None

    def test_termination_message__from_the_log_is_limited(self, run_pod: RunPod, outcome: Outcome) -> None:
        """The last 80 lines, and the last 2,048 bytes."""
        policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        run_pod("many", "seq 1 100; exit 1", **policy)
        run_pod("long", "printf %3000s x; exit 1", **policy)
        assert outcome("many").message == "".join(f"{number}\n" for number in range(21, 101))
        assert outcome("long").message == " " * 2047 + "x"

    def test_termination_message__from_the_default_file(self, run_pod: RunPod, outcome: Outcome) -> None:
        """The file exists, empty, from the start; the working directory stands for the container's root."""
        policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        run_pod("usual", "test -e dev/termination-log && echo why > dev/termination-log; echo log; exit 1", **policy)
        run_pod("well", "echo what > dev/termination-log")
        run_pod("empty", "true")
        assert outcome("usual").message == "why\n"
        assert outcome("well").message == "what\n"
        assert outcome("empty").message is None

    def test_termination_message__keeps_the_end_of_a_long_one(self, run_pod: RunPod, outcome: Outcome) -> None:
        """4,096 bytes."""
        run_pod("wordy", "printf %5000s end > dev/termination-log")
        assert outcome("wordy").message == " " * 4093 + "end"

    def test_termination_message__ignores_a_symbolic_link(
        self, run_pod: RunPod, outcome: Outcome, tmp_path: Path
    ) -> None:
        """So a program cannot expose a file of the host."""
        secret = tmp_path / "secret"
        secret.write_text("the host's")
        run_pod("link", f"ln -sf {secret} dev/termination-log; exit 1")
        assert outcome("link").message is None

    def test_termination_message__belongs_to_one_run(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """With OnFailure, `lastState` keeps the failed run's message, exit code and times."""
        seen = tmp_path / "seen"
        script = f"test -e {seen} && exec sleep 600; touch {seen}; echo first > dev/termination-log; exit 7"
        run_pod("again", script, restart_policy="OnFailure")

        def second_run() -> V1ContainerStatus | None:
            (found,) = apis.pod("again").status.container_statuses or [None]
            return found if found and found.restart_count == 1 and found.state.running else None

        status = eventually(second_run)
        last = status.last_state.terminated
        assert (last.exit_code, last.reason, last.message) == (7, "Error", "first\n")
        assert last.started_at <= last.finished_at <= status.state.running.started_at

    def test_termination_message__from_a_relative_path(self, run_pod: RunPod, outcome: Outcome) -> None:
        """Relative to the container's working directory."""
        run_pod("file", "printf done > note", terminationMessagePath="note")
        assert outcome("file").message == "done"

    def test_termination_message__ignores_files_outside_of_the_containers_folder(
        self, run_pod: RunPod, outcome: Outcome, tmp_path: Path
    ) -> None:
        """Containers share the host's files, so such a file belongs to something else."""
        secret = tmp_path / "secret"
        secret.write_text("the host's")
        run_pod("outside", "true", terminationMessagePath=str(secret))
        assert outcome("outside").message is None

    def test_invalid_image_name__is_reported(self, apis: Apis, run_pod: RunPod, eventually: Eventually) -> None:
        """InvalidImageName, not a failed pull."""
        run_pod("shout", "true", image="BusyBox:1")
        assert eventually(lambda: waiting_state(apis, "shout")).reason == "InvalidImageName"


class TestRestarts:
    """restartPolicy."""

    def test_on_failure__restarts_until_success(
        self, apis: Apis, run_pod: RunPod, outcome: Outcome, tmp_path: Path
    ) -> None:
        """The log and the state of the previous run stay readable."""
        first, second = tmp_path / "first", tmp_path / "second"
        fail = f"{{ test -e {first} && touch {second}; touch {first}; exit 1; }}"
        script = f"echo run; test -e {second} || {fail}"
        run_pod("retry", script, "OnFailure")
        assert outcome("retry").exit_code == 0
        [status] = apis.pod("retry").status.container_statuses
        assert status.restart_count == 2
        assert status.last_state.terminated.exit_code == 1
        assert apis.log("retry") == apis.log("retry", previous=True) == "run\n"

    def test_failing_container__restarts_with_backoff(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually
    ) -> None:
        """CrashLoopBackOff."""
        run_pod("loop", "exit 1", "Always")
        state = eventually(
            lambda: (state := waiting_state(apis, "loop")) and state.reason == "CrashLoopBackOff"
            and (told := re.match(r"back-off ([0-9.]+)s ", state.message)) and float(told[1]) >= 0.32 and state
        )  # fmt: skip
        assert "restarting failed container=main pod=loop_" in state.message
        assert apis.pod("loop").status.phase == "Running"
        eventually(lambda: "BackOff" in apis.reasons("Pod", "loop"))


class TestLogs:
    """`kubectl logs` and its options."""

    def test_log__options_select_lines(self, apis: Apis, run_pod: RunPod, outcome: Outcome) -> None:
        """TailLines, limitBytes, sinceSeconds and timestamps."""
        run_pod("lines", "echo one; echo two >&2; printf three")
        outcome("lines")
        assert apis.log("lines") == "one\ntwo\nthree"
        assert apis.log("lines", tail_lines=2) == "two\nthree"
        assert apis.log("lines", tail_lines=0) == ""
        assert apis.log("lines", limit_bytes=5) == "one\nt"
        assert apis.log("lines", since_seconds=60) == "one\ntwo\nthree"
        stamp, text = apis.log("lines", timestamps=True, tail_lines=1).split(" ")
        assert text == "three"
        assert stamp.endswith("Z")
        assert len(stamp) == len("2006-01-02T15:04:05.000000000Z")

    def test_log__follow_streams_until_the_end(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """Including output written after the request."""
        go = tmp_path / "go"
        run_pod("followed", f"echo first; until test -e {go}; do sleep 0.02; done; echo last")
        eventually(lambda: apis.pod("followed").status.phase == "Running")
        answer = apis.core.read_namespaced_pod_log("followed", apis.namespace, follow=True, _preload_content=False)
        pieces = answer.stream()
        assert next(pieces) == b"first\n"
        go.touch()
        assert b"".join(pieces) == b"last\n"

    def test_log__follow_ends_when_the_client_disconnects(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, embedded_cluster: Cluster
    ) -> None:
        """Even if the container never writes again."""
        run_pod("quiet", "echo once; sleep 60")
        eventually(lambda: apis.pod("quiet").status.phase == "Running")
        before = set(threading.enumerate())
        connection = http.client.HTTPConnection(embedded_cluster.url.removeprefix("http://"))
        connection.request("GET", f"/api/v1/namespaces/{apis.namespace}/pods/quiet/log?follow=true")
        answer = connection.getresponse()
        assert answer.readline() == b"once\n"
        threads = set(threading.enumerate()) - before
        assert threads
        answer.close()
        connection.close()
        eventually(lambda: not any(thread.is_alive() for thread in threads))

    def test_log__error_says_why_there_is_none(self, apis: Apis, run_pod: RunPod, eventually: Eventually) -> None:
        """With the kubelet's wording, which people search for."""
        run_pod("unborn", "true", image="example.com/none:1")
        eventually(lambda: (state := waiting_state(apis, "unborn")) and state.reason == "ImagePullBackOff")
        for options, message in (
            ({}, 'container "main" in pod "unborn" is waiting to start: trying and failing to pull image'),
            ({"previous": True}, 'previous terminated container "main" in pod "unborn" not found'),
            ({"container": "other"}, "container other is not valid for pod unborn"),
        ):
            with pytest.raises(ApiException) as caught:
                apis.log("unborn", **options)
            assert (caught.value.status, json.loads(caught.value.body or "")["message"]) == (400, message)


class TestReadiness:
    """readinessProbe."""

    @pytest.mark.slow
    def test_exec_probe__sets_readiness(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """Not ready until the probe succeeds, nor after it failed often enough."""
        probe = {"exec": {"command": ["test", "-e", str(tmp_path / "up")]}, "periodSeconds": 1, "failureThreshold": 1}
        run_pod("probed", "sleep 60", readinessProbe=probe)
        eventually(lambda: "Unhealthy" in apis.reasons("Pod", "probed"))
        assert not is_ready(apis.pod("probed"))
        (tmp_path / "up").touch()
        eventually(lambda: is_ready(apis.pod("probed")))
        (tmp_path / "up").unlink()
        eventually(lambda: not is_ready(apis.pod("probed")))

    @pytest.mark.parametrize("action", ["httpGet", "tcpSocket"])
    def test_network_probe__sets_readiness(
        self, apis: Apis, embedded_cluster: Cluster, run_pod: RunPod, eventually: Eventually, action: str
    ) -> None:
        """HttpGet needs a good status, tcpSocket a connection; the API server is the target."""
        port = int(embedded_cluster.url.rpartition(":")[2])
        good = {"port": port} | ({"path": "/version"} if action == "httpGet" else {})
        bad = {"port": port, "path": "/none"} if action == "httpGet" else {"port": 1}
        run_pod("good", "sleep 60", readinessProbe={action: good})
        run_pod("bad", "sleep 60", readinessProbe={action: bad})
        eventually(lambda: is_ready(apis.pod("good")))
        eventually(lambda: "Unhealthy" in apis.reasons("Pod", "bad"))
        assert not is_ready(apis.pod("bad"))

    def test_initial_delay__delays_readiness(self, apis: Apis, run_pod: RunPod, eventually: Eventually) -> None:
        """A running pod is not ready before its first probe."""
        run_pod("delayed", "sleep 60", readinessProbe={"exec": {"command": ["true"]}, "initialDelaySeconds": 1})
        pod = eventually(lambda: is_ready(pod := apis.pod("delayed")) and pod)
        ready = next(found for found in pod.status.conditions if found.type == "Ready")
        started = pod.status.container_statuses[0].state.running.started_at
        assert ready.last_transition_time > started


class TestDeletion:
    """Termination."""

    def test_delete__sends_sigterm_first(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """The program can terminate on its own."""
        run_pod("polite", f"trap 'touch {tmp_path}/bye; exit 0' TERM; touch {tmp_path}/up; sleep 60 & wait")
        eventually((tmp_path / "up").exists)
        apis.core.delete_namespaced_pod("polite", apis.namespace)
        eventually(lambda: not apis.pods())
        assert (tmp_path / "bye").exists()

    def test_delete__kills_after_the_grace_period(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """Until then the pod has a deletionTimestamp."""
        run_pod("deaf", f"trap '' TERM; echo $$$$ > {tmp_path}/pid; while :; do sleep 0.1; done",
                spec={"terminationGracePeriodSeconds": 1})  # fmt: skip
        pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        deleting = apis.core.delete_namespaced_pod("deaf", apis.namespace)
        assert deleting.metadata.deletion_grace_period_seconds == 1
        eventually(lambda: not apis.pods())
        assert not Path(f"/proc/{pid}").exists()

    def test_delete__again_shortens_the_grace_period(
        self, apis: Apis, run_pod: RunPod, eventually: Eventually, tmp_path: Path
    ) -> None:
        """`kubectl delete --now` after a `kubectl delete`."""
        script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
        run_pod("slow", script, spec={"terminationGracePeriodSeconds": 3600})
        eventually((tmp_path / "up").exists)
        apis.core.delete_namespaced_pod("slow", apis.namespace)
        assert apis.pod("slow").metadata.deletion_grace_period_seconds == 3600
        apis.core.delete_namespaced_pod("slow", apis.namespace, grace_period_seconds=1)
        eventually(lambda: not apis.pods())

    def test_background_process__ends_with_the_container(
        self, run_pod: RunPod, outcome: Outcome, eventually: Eventually, tmp_path: Path
    ) -> None:
        """A container ends with its first process."""
        run_pod("parent", f"sleep 60 & echo $! > {tmp_path}/pid")
        outcome("parent")
        pid = int((tmp_path / "pid").read_text())
        eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_pod_address__is_unique_and_loopback(apis: Apis, run_pod: RunPod, eventually: Eventually) -> None:
    """So a test can bind to it."""
    for name in ("a", "b"):
        run_pod(name, "sleep 60")
    eventually(lambda: all(pod.status.pod_ip for pod in apis.pods()))
    addresses = {pod.status.pod_ip for pod in apis.pods()}
    assert len(addresses) == 2
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network("127.64.0.0/10") for address in addresses)


def test_node__is_registered(apis: Apis) -> None:
    """`kubectl get nodes`."""
    [node] = apis.core.list_node().items
    assert node.metadata.name == "devcluster"
    assert [(found.type, found.status) for found in node.status.conditions] == [("Ready", "True")]
