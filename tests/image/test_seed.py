"""Upstream's manifest works if only its image is replaced, within its original resource limits."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client
from kubernetes.utils import quantity

from tests.image.conftest import Image
from tests.image.container import SECRETS, Container
from tests.integration.dispatching import until
from tests.support.cgroups import ControlGroup, NoControlGroupError, control_group
from tests.support.servers import RBAC, Server, grant

pytestmark = [
    pytest.mark.real_only("tests how Kubernetes handles a manifest"),
    pytest.mark.xdist_group("image"),
]

DATA = Path(__file__).parents[1] / "data" / "seed"
IMAGE = "slimfaas-jobs:latest"
NAMESPACE = "slimfaas-demo"
ACCOUNT = "slimfaas"


def read_manifests() -> list[dict[str, Any]]:
    """Return the manifests, with only the image replaced."""
    documents = list(yaml.safe_load_all((DATA / "slimfaas.yaml").read_text("utf-8")))
    for document in documents:
        if document["kind"] == "StatefulSet":
            for container in document["spec"]["template"]["spec"]["containers"]:
                container["image"] = IMAGE
    return documents


class Pod:
    """The pod of the manifest, with the settings that a kubelet derives from its spec.

    Args:
        server: the API server.
        manifests: the applied manifests.
    """

    def __init__(self, server: Server, manifests: list[dict[str, Any]]) -> None:
        self._server = server
        self._core = client.CoreV1Api(server.admin)
        (workload,) = [document for document in manifests if document["kind"] == "StatefulSet"]
        self.spec = workload["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.name = f"{workload['metadata']['name']}-0"

    def environment(self) -> dict[str, str]:
        """Return the container's variables: Kubernetes' own, those of the Services, and those of the spec.

        https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
        """
        host, _, port = self._server.url.removeprefix("https://").partition(":")
        variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOSTNAME": self.name}
        if self.spec.get("enableServiceLinks", True):
            for service in self._core.list_namespaced_service(NAMESPACE).items:
                variables |= self._link(service)
        for entry in self.container.get("env", ()):
            variables[entry["name"]] = entry["value"] if "value" in entry else self._resolve(entry["valueFrom"])
        return variables

    def _resolve(self, source: dict[str, Any]) -> str:
        reference = source["configMapKeyRef"]
        found = self._core.read_namespaced_config_map(reference["name"], NAMESPACE)
        value: str = found.data[reference["key"]]
        return value

    @staticmethod
    def _link(service: Any) -> dict[str, str]:
        prefix, address = service.metadata.name.upper().replace("-", "_"), service.spec.cluster_ip
        first = service.spec.ports[0]
        links = {
            f"{prefix}_SERVICE_HOST": address,
            f"{prefix}_SERVICE_PORT": str(first.port),
            f"{prefix}_PORT": f"tcp://{address}:{first.port}",
        }
        for port in service.spec.ports:
            links[f"{prefix}_SERVICE_PORT_{port.name.upper()}"] = str(port.port)
            links[f"{prefix}_PORT_{port.port}_TCP"] = f"tcp://{address}:{port.port}"
            links[f"{prefix}_PORT_{port.port}_TCP_ADDR"] = address
        return links

    def write_secrets(self, folder: Path) -> Path:
        """Write the ServiceAccount's files that are mounted into each pod."""
        folder.mkdir(mode=0o755)
        token = self._server.token(NAMESPACE, self.spec["serviceAccountName"])
        assert token is not None
        assert self._server.ca_file is not None
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(NAMESPACE)
        (folder / "ca.crt").write_bytes(self._server.ca_file.read_bytes())
        return folder

    def limits(self) -> tuple[int, float]:
        """Return the memory limit in bytes, and the CPU limit in cores."""
        limits = self.container["resources"]["limits"]
        return int(quantity.parse_quantity(limits["memory"])), float(quantity.parse_quantity(limits["cpu"]))


class Probe:
    """Runs the liveness probe of a container by its spec.

    Attributes:
        count: the number of probes.
        failures: the current number of consecutive failures; a kubelet restarts the container at `failureThreshold`.
        most_failures: the highest number of consecutive failures.

    https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = self.failures = self.most_failures = 0

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        target = self._spec["httpGet"]
        pause_seconds = self._spec["initialDelaySeconds"]
        while not self._ended.wait(pause_seconds):
            pause_seconds = self._spec["periodSeconds"]
            self.count += 1
            try:
                url = f"http://127.0.0.1:{target['port']}{target['path']}"
                succeeded = 200 <= requests.get(url, timeout=self._spec["timeoutSeconds"]).status_code < 400
            except requests.RequestException:
                succeeded = False
            self.failures = 0 if succeeded else self.failures + 1
            self.most_failures = max(self.most_failures, self.failures)


@pytest.fixture
def applied(server: Server) -> Iterator[list[dict[str, Any]]]:
    """Apply the manifests and the service's Role in the manifests' own namespace."""
    core, apps = client.CoreV1Api(server.admin), client.AppsV1Api(server.admin)
    if NAMESPACE in [namespace.metadata.name for namespace in core.list_namespace().items]:
        pytest.skip(f"the manifests' namespace {NAMESPACE} exists already in this cluster")
    create = {
        "Namespace": core.create_namespace,
        "ConfigMap": core.create_namespaced_config_map,
        "Service": core.create_namespaced_service,
        "StatefulSet": apps.create_namespaced_stateful_set,
    }
    documents = read_manifests()
    try:
        for document in documents:
            where = () if document["kind"] == "Namespace" else (document["metadata"]["namespace"],)
            create[document["kind"]](*where, copy.deepcopy(document))
        grant(server, NAMESPACE, RBAC)
        yield documents
    finally:
        core.delete_namespace(NAMESPACE)


def make_ready(server: Server, name: str) -> None:
    """Create a Deployment that the job depends on."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    client.AppsV1Api(server.admin).create_namespaced_deployment(NAMESPACE, {"metadata": {"name": name}, "spec": spec})


def test_upstream_manifest__works_with_only_the_image_replaced(
    image: Image,
    server: Server,
    applied: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The service gets the pod's variables, probe and resource limits, and handles upstream's example requests."""
    pod = Pod(server, applied)
    with ExitStack() as stack:
        cgroup: ControlGroup | None = None
        try:
            cgroup = stack.enter_context(control_group(*pod.limits()))
        except NoControlGroupError as error:
            print(f"running without the manifest's limits: {error}")
        container = stack.enter_context(
            Container(
                image.tree,
                image.stage,
                tmp_path / "container.log",
                environment=pod.environment(),
                mounts={SECRETS: pod.write_secrets(tmp_path / "secrets")},
                cgroup=cgroup,
            )
        )
        probe = stack.enter_context(Probe(pod.container["livenessProbe"]))
        url = f"http://127.0.0.1:{pod.container['livenessProbe']['httpGet']['port']}"
        container.await_ok(f"{url}/ready")

        waiting = requests.post(f"{url}/job/fibonacci", (DATA / "request-args.json").read_bytes(), timeout=20)
        assert waiting.status_code == 202, waiting.text
        location = url + waiting.headers["Location"]
        until(lambda: requests.get(location, timeout=20).json()["Reason"] == "WaitingForDependencies")
        overridden = json.loads((DATA / "request-full.json").read_text("utf-8"))
        refused = requests.post(f"{url}/job/fibonacci", json.dumps(overridden), timeout=20)
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/Image"]
        del overridden["Image"]  # the ConfigMap's whitelist is empty: only the definition's own image is allowed
        second = requests.post(f"{url}/job/fibonacci", json.dumps(overridden), timeout=20)
        assert second.status_code == 202, second.text

        for name in ("fibonacci1", "fibonacci2"):
            make_ready(server, name)
        for answer in (waiting, second):
            run_url = url + answer.headers["Location"]
            until(lambda run_url=run_url: requests.get(run_url, timeout=20).json()["Status"] == "Succeeded")
        count = probe.count
        until(lambda: probe.count > count + 1)

        # A probe may come before the service listens, which takes some seconds with 400m CPU on a busy machine.
        assert probe.failures == 0
        assert probe.most_failures < pod.container["livenessProbe"].get("failureThreshold", 3)
        if cgroup is not None:
            members = (cgroup.folders[0] / "cgroup.procs").read_text().split()
            assert str(container.process_id) in members
            with capsys.disabled():
                print(
                    f"\nmemory: {cgroup.usage_mib():.1f} MiB, of which {cgroup.anonymous_mib():.1f} MiB anonymous;",
                    end=" ",
                )
        assert container.terminate() == 0
        if cgroup is not None:
            with capsys.disabled():
                print(f"peak {cgroup.peak_mib() or 0:.1f} MiB, shutdown included")
            assert cgroup.kills() == 0
    assert "Traceback" not in container.log_text
