"""kubectl against the embedded API server: the commands in the README."""

import json
import os
import re
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
    """A log source with one line for each container."""

    def read(self, pod, options):
        """Yield one line."""
        yield b"hello\n"


@pytest.fixture
def store():
    """Return a store with a Job, its pod and an Event about it."""
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
    """Return a function that runs kubectl against a server for that store, and returns its output or error."""
    server = ApiServer(store, OneLine())
    server.start()

    def run(*args, stdin=None, fails=False):
        done = subprocess.run(
            [KUBECTL, "--server", server.url, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": os.devnull},
        )
        assert done.returncode == (1 if fails else 0), done.stderr
        return done.stderr if fails else done.stdout

    yield run
    server.stop()


def test_get__prints_the_servers_columns(kubectl):
    head, line = kubectl("get", "jobs").splitlines()
    assert head.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert line.split()[:3] == ["one", "Running", "0/1"]
    assert "job.batch/one" in kubectl("get", "all")
    assert "one-abcde" in kubectl("get", "pods", "-A", "-o", "wide", "-l", "job-name=one")


def test_describe__shows_the_job_and_its_events(kubectl):
    """It selects the Events by field."""
    shown = kubectl("describe", "job", "one")
    assert "Suspend:          true" in shown
    assert "for a slot" in shown


def test_logs__of_a_job_finds_its_pod(kubectl):
    """By the Job's selector."""
    assert kubectl("logs", "job/one") == "hello\n"


def test_delete__waits_until_the_job_is_gone(kubectl, store):
    assert 'job.batch "one" deleted' in kubectl("delete", "job", "one", "--timeout=120s")
    assert store.list(JOB, None)[0] == []


def test_apply__creates_and_then_patches(kubectl, store):
    """It validates the fields on the server, and patches strategically."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    assert "created" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["data"] = {"b": "2"}
    assert "configured" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert store.get(CONFIG_MAP, "default", "c")["data"] == {"b": "2"}


def test_scale__changes_the_replicas(kubectl, store):
    """Through the subresource."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    store.create(DEPLOYMENT, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    assert "scaled" in kubectl("scale", "deployment", "web", "--replicas=3")
    assert store.get(DEPLOYMENT, "default", "web")["spec"]["replicas"] == 3
    assert "scaled" in kubectl("scale", "deployment", "web", "--replicas=0", "--current-replicas=3")


def test_kubectl__supports_other_common_commands(kubectl):
    """Discovery, events, JSON output and wait."""
    assert "jobs" in kubectl("api-resources", "--verbs=list", "-o", "name")
    assert "Waiting" in kubectl("events", "--for", "job/one")
    assert json.loads(kubectl("get", "job", "one", "-o", "json"))["kind"] == "Job"
    assert "condition met" in kubectl("wait", "--for=jsonpath={.spec.suspend}=true", "job/one", "--timeout=120s")
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "two"}, "spec": SPEC}
    assert "job.batch/two created" in kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    kubectl("annotate", "job", "two", "slimfaas.dev/note=x")
    kubectl("label", "job", "two", "tier=x")
    kubectl("patch", "job", "two", "-p", '{"spec":{"suspend":true}}')


@pytest.mark.slow
def test_explain__prints_the_fields_and_their_descriptions(kubectl):
    """Of an object, of a field that is an object, an array or a map, and of a single value."""
    job = kubectl("explain", "job")
    assert "Job represents the configuration of a single job." in job
    assert re.search(r"^  spec\t<\S*JobSpec>$", job, re.MULTILINE)
    spec = kubectl("explain", "jobs.spec")
    assert "FIELD: spec" in spec
    assert "JobSpec describes how the job execution will look like." in spec
    assert re.search(r"^  backoffLimit\t<integer>$", spec, re.MULTILINE)
    assert "Entrypoint array" in kubectl("explain", "pod.spec.containers.command")
    assert "FIELD: nodeSelector <map[string]string>" in kubectl("explain", "job.spec.template.spec.nodeSelector")
    assert "FIELDS" in kubectl("explain", "lease.spec")
    assert 'field "spek" does not exist' in kubectl("explain", "job.spek", fails=True)


def test_create_job__says_that_there_is_no_protobuf(kubectl, store):
    """And the way that it names works."""
    command = ["create", "job", "new", "--image=busybox:1"]
    error = kubectl(*command, "--", "true", fails=True)
    assert "the embedded cluster reads JSON only" in error
    assert "--dry-run=client -o json | kubectl create -f -" in error
    manifest = kubectl(*command, "--dry-run=client", "-o", "json", "--", "true")
    kubectl("create", "-f", "-", stdin=manifest)
    assert store.get(JOB, "default", "new")["spec"]["template"]["spec"]["containers"][0]["command"] == ["true"]
