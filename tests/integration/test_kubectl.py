"""kubectl against the embedded API server: the commands that the README promises."""

import json
import os
import shutil
import subprocess

import pytest

from devcluster.http import ApiServer
from devcluster.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, JOB, POD
from devcluster.store import Store
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER
from tests.support.waiting import DEADLINE_SECONDS

KUBECTL = shutil.which("kubectl")

pytestmark = [OF_THE_EMBEDDED_CLUSTER, pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on the PATH")]

SPEC = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}}


class OneLine:
    """A log source in which every container has said one line."""

    def read(self, pod, options):
        """One line."""
        yield b"hello\n"


@pytest.fixture
def store():
    """A Job with its pod and an Event about it."""
    made = Store()
    job = made.create(JOB, {"metadata": {"name": "one", "namespace": "default"}, "spec": {**SPEC, "suspend": True}})
    labels = job["spec"]["template"]["metadata"]["labels"]
    pod_spec = job["spec"]["template"]["spec"]
    metadata = {"name": "one-abcde", "namespace": "default", "labels": labels}
    made.create(POD, {"metadata": metadata, "spec": {**pod_spec, "nodeName": "laptop"}})
    uid = job["metadata"]["uid"]
    about = {"apiVersion": "batch/v1", "kind": "Job", "name": "one", "namespace": "default", "uid": uid}
    event = {"involvedObject": about, "reason": "Waiting", "message": "for a slot", "type": "Normal"}
    made.create(EVENT, {"metadata": {"name": "one.1", "namespace": "default"}, **event})
    return made


@pytest.fixture
def kubectl(store, tmp_path):
    """Run kubectl against a server for that store; returns what it printed."""
    server = ApiServer(store, OneLine())
    server.start()

    def run(*args, stdin=None):
        done = subprocess.run(
            [KUBECTL, "--server", server.url, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": os.devnull},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    server.stop()


def test_get_prints_the_servers_columns(kubectl):
    """`kubectl get jobs` shows the state in the real columns."""
    head, line = kubectl("get", "jobs").splitlines()
    assert head.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert line.split()[:3] == ["one", "Running", "0/1"]
    assert "job.batch/one" in kubectl("get", "all")
    assert "one-abcde" in kubectl("get", "pods", "-A", "-o", "wide", "-l", "job-name=one")


def test_describe_shows_the_job_and_its_events(kubectl):
    """`kubectl describe job` finds the Events by their fields."""
    shown = kubectl("describe", "job", "one")
    assert "Suspend:          true" in shown
    assert "for a slot" in shown


def test_logs_of_a_job_find_its_pod(kubectl):
    """`kubectl logs job/one` follows the Job's selector to its pod."""
    assert kubectl("logs", "job/one") == "hello\n"


def test_delete_waits_until_the_job_is_gone(kubectl, store):
    """`kubectl delete job` sees the object go."""
    assert 'job.batch "one" deleted' in kubectl("delete", "job", "one", "--timeout=120s")
    assert store.list(JOB, None)[0] == []


def test_apply_creates_and_then_patches(kubectl, store):
    """`kubectl apply` checks the fields on the server, creates, and patches strategically."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    assert "created" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["data"] = {"b": "2"}
    assert "configured" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert store.get(CONFIG_MAP, "default", "c")["data"] == {"b": "2"}


def test_scale_changes_the_replicas(kubectl, store):
    """`kubectl scale` finds and uses the subresource."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    store.create(DEPLOYMENT, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    assert "scaled" in kubectl("scale", "deployment", "web", "--replicas=3")
    assert store.get(DEPLOYMENT, "default", "web")["spec"]["replicas"] == 3
    assert "scaled" in kubectl("scale", "deployment", "web", "--replicas=0", "--current-replicas=3")


def test_the_commands_of_a_curious_user_work(kubectl):
    """Discovery, events, json and wait: none of them fails."""
    assert "jobs" in kubectl("api-resources", "--verbs=list", "-o", "name")
    assert "Waiting" in kubectl("events", "--for", "job/one")
    assert json.loads(kubectl("get", "job", "one", "-o", "json"))["kind"] == "Job"
    assert "condition met" in kubectl("wait", "--for=jsonpath={.spec.suspend}=true", "job/one", "--timeout=120s")
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "two"}, "spec": SPEC}
    assert "job.batch/two created" in kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    kubectl("annotate", "job", "two", "slimfaas.dev/note=x")
    kubectl("label", "job", "two", "tier=x")
    kubectl("patch", "job", "two", "-p", '{"spec":{"suspend":true}}')
