"""Definitions that are whole Jobs, from the configuration and from a CronJob: started, waited for, read, cancelled."""

from typing import Any

import pytest
import requests
from kubernetes import client

from tests.controlplane.node import LOG_LINE
from tests.e2e.callers import Replica
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

Json = dict[str, Any]

SECRET = "the-value-of-a-secret"
SIDECAR = "exec 2>/dev/null; echo up; trap 'exit 0' TERM; while true; do sleep 0.05; done"


def write_job(node: str, *, seconds: int, cpu: str) -> Json:
    """Write the template of a run that lasts some seconds.

    It has two volumes, an init container, a sidecar and a container more, tolerations and a node selector.
    """
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("scratch", "secret")]
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "secret", "secret": {"secretName": "train", "defaultMode": 256}},
        ],
        "initContainers": [
            {"name": "fetch", "image": "busybox:1", "command": ["echo", "fetched"], "volumeMounts": mounts},
            {
                "name": "mesh",
                "image": "busybox:1",
                "restartPolicy": "Always",
                "command": ["sh", "-c", SIDECAR],
            },
        ],
        "containers": [
            {"name": "helper", "image": "busybox:1", "command": ["echo", "helped"]},
            {
                "name": "main",
                "image": "busybox:1",
                "command": ["sh", "-c", 'echo "trained $1"; sleep "$0"', str(seconds)],
                "args": ["nothing"],
                "resources": {"limits": {"cpu": cpu}},
                "volumeMounts": mounts,
                "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "train", "key": "token"}}}],
            },
        ],
    }
    annotations = {"kubectl.kubernetes.io/default-container": "main", "testnode/runs-for": f"{seconds}s"}
    return {
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"team": "blue"}, "annotations": annotations}, "spec": pod},
        },
    }


class Definitions:
    """The definitions of a test: one that is short, and one that is long, which may be the first one after a change.

    Args:
        server: the API server.
        namespace: of the service.
        source: where the definitions are.
    """

    def __init__(self, server: Server, namespace: str, source: str) -> None:
        core = client.CoreV1Api(server.admin)
        self.node = core.list_node().items[0].metadata.labels["kubernetes.io/hostname"]
        core.create_namespaced_secret(namespace, {"metadata": {"name": "train"}, "stringData": {"token": SECRET}})
        self._batch, self._namespace = client.BatchV1Api(server.admin), namespace
        self._source = source
        self._jobs = [write_job(self.node, seconds=0, cpu="1"), write_job(self.node, seconds=600, cpu="2")]
        if source == "CronJob":
            self._batch.create_namespaced_cron_job(namespace, self._write_cronjob())

    @property
    def configuration(self) -> Json:
        """What the service is configured with."""
        if self._source == "CronJob":
            return {"other": {"Image": "busybox:1"}}
        return {
            name: {"JobTemplate": job, "Visibility": "Public", "NumberParallelJob": slots}
            for name, job, slots in zip(("train", "train-long"), self._jobs, (1, 2), strict=True)
        }

    def lengthen(self, service: ServiceProcess) -> str:
        """Return the name of the definition whose runs are long: a CronJob is changed while the service runs."""
        if self._source == "CronJob":
            patch = {"metadata": {"annotations": {"SlimFaas/NumberParallelJob": "2"}}}
            patch["spec"] = {"jobTemplate": self._jobs[1]}
            self._batch.patch_namespaced_cron_job("train", self._namespace, patch)
            until(lambda: [slots_of(service) for _ in range(4)] == [2] * 4)
            return "train"
        return "train-long"

    def _write_cronjob(self) -> Json:
        annotations = {"SlimFaas/Job": "true", "SlimFaas/DefaultVisibility": "Public"}
        return {
            "metadata": {"name": "train", "annotations": annotations},
            "spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": self._jobs[0]},
        }


def slots_of(service: ServiceProcess) -> int:
    """Return how many slots the definition `train` has."""
    (entry,) = [one for one in service.get("/jobs/status").json() if one["Name"] == "train"]
    return int(entry["NumberParallelJob"])


def pods_of(server: Server, namespace: str, job: str) -> list[Any]:
    """Return the pods of a Job."""
    selector = f"batch.kubernetes.io/job-name={job}"
    found: list[Any] = client.CoreV1Api(server.admin).list_namespaced_pod(namespace, label_selector=selector).items
    return found


def check_pod(pod: Any, node: str, *, args: list[str], cpu: str) -> None:
    """Check that a pod is what the template says, and the request where it may."""
    assert {"scratch", "secret"} <= {volume.name for volume in pod.spec.volumes}
    assert [(one.name, one.restart_policy) for one in pod.spec.init_containers] == [("fetch", None), ("mesh", "Always")]
    assert [container.name for container in pod.spec.containers] == ["helper", "main"]
    assert "gpu" in [toleration.key for toleration in pod.spec.tolerations]
    assert (pod.spec.node_selector, pod.metadata.labels["team"]) == ({"kubernetes.io/hostname": node}, "blue")
    main = pod.spec.containers[1]
    assert {"scratch", "secret"} <= {mount.name for mount in main.volume_mounts}
    assert (main.args, main.resources.limits) == (args, {"cpu": cpu})
    token = next(variable for variable in main.env if variable.name == "TOKEN")
    assert token.value_from.secret_key_ref.name == "train"


@pytest.mark.parametrize("source", ["Configuration", "CronJob"])
def test_whole_job__is_started_waited_for_read_and_cancelled(
    server: Server, namespace: str, replica: Replica, source: str
) -> None:
    definitions = Definitions(server, namespace, source)
    with replica(definitions.configuration) as service:
        until(lambda: service.get("/ready").status_code == 200)
        response = requests.post(
            f"{service.url}/job/train",
            json={"Args": ["5 epochs"], "Resources": {"Limits": {"cpu": "500m"}}},
            headers={"Prefer": "wait=60"},
            timeout=DEADLINE_SECONDS,
        )
        told = response.json()
        assert (response.status_code, told["Status"], told["ExitCode"]) == (200, "Succeeded", 0), response.text
        assert (told["Args"], told["Resources"]["Limits"]) == (["5 epochs"], {"cpu": "500m"})
        assert SECRET not in response.text
        (pod,) = pods_of(server, namespace, told["Name"])
        check_pod(pod, definitions.node, args=["5 epochs"], cpu="500m")
        printed = {"fetch": "fetched", "helper": "helped", "main": "trained 5 epochs"}
        for name, text in printed.items():
            log = service.get(f"/job/train/{told['Id']}/logs?container={name}")
            expected = text if server.runs_processes else LOG_LINE
            assert (log.status_code, log.text) == (200, f"{expected}\n"), name
        assert service.get(f"/job/train/{told['Id']}/logs").text == log.text
        # Its process may have been ended before it has printed anything.
        assert service.get(f"/job/train/{told['Id']}/logs?container=mesh").status_code == 200
        assert service.post("/job/train", {"Environments": [{"Name": "LOG_LEVEL", "Value": "x"}]}).status_code == 422

        long = definitions.lengthen(service)
        accepted = service.post(f"/job/{long}")
        assert accepted.status_code == 202, accepted.text
        path, name = f"/job/{long}/{accepted.json()['Id']}", accepted.json()["Name"]
        until(lambda: service.get(path).json()["Status"] == "Running")
        (pod,) = pods_of(server, namespace, name)
        check_pod(pod, definitions.node, args=["nothing"], cpu="2")
        assert service.get(f"{path}/logs?container=mesh").status_code == 200
        assert service.delete(path).status_code in (200, 202, 204)
        until(lambda: service.get(path).status_code == 404)
        until(lambda: pods_of(server, namespace, name) == [])
