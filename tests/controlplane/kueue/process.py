"""A real Kueue (https://kueue.sigs.k8s.io) beside a control plane that listens on loopback.

::

    with Kueue(server, kubeconfig) as kueue:
        kueue.manage(namespace)
        ...
        with kueue.configured(feature_gates={"AdmissionGatedBy": False}):
            ...

`python -m tests.controlplane.kueue.process` builds it, and prints the program's path.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
import yaml
from kubernetes import client
from kubernetes.client.exceptions import NotFoundException, ServiceException

from tests.controlplane.build import BuildUnavailable, GoModule
from tests.controlplane.components import Component, Reaper
from tests.support.ports import find_free_port
from tests.support.servers import Server
from tests.support.waiting import until

API_GROUP = "kueue.x-k8s.io"
API_VERSION = "v1beta2"
QUEUE_LABEL = f"{API_GROUP}/queue-name"
GATE_ANNOTATION = f"{API_GROUP}/admission-gated-by"
MERGE_PATCH = "application/merge-patch+json"

_GO_MODULE = "sigs.k8s.io/kueue"
_MODULE = GoModule(Path(__file__).resolve().parent, "kueue")
_SERVICE = "kueue-webhook-service"
_SECRET = "kueue-webhook-server-cert"
_MANAGED_LABEL = {"slimfaas.dev/kueue": "true"}
_CRDS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_CALL_SECONDS = 10.0

Json = dict[str, Any]


def find_kueue() -> Path:
    """Return the path of Kueue's program, and build it unless it exists already.

    Raises:
        BuildUnavailable: there is no Go, or the build fails.
    """
    version = _MODULE.version_of(_GO_MODULE)
    variables = {f"{_GO_MODULE}/pkg/version.GitVersion": version}
    return _MODULE.build({"kueue": f"{_GO_MODULE}/cmd/kueue"}, f"Kueue {version}", variables) / "kueue"


class Kueue:
    """Kueue with its CustomResourceDefinitions and webhooks; a context manager that is ready once entered.

    Kueue manages only the Jobs of namespaces that were given to `manage`; its webhooks see no others. A control plane
    can have one Kueue at a time. At the end everything of it is removed, including what tests made of its kinds.

    It runs as with its own manifests, with a certificate that it makes itself and stores in a Secret. This class writes
    the Secret to files, as the kubelet does for a pod.

    Args:
        server: the API server; it must be able to connect to this machine's loopback interface.
        kubeconfig: an administrator's.

    Raises:
        BuildUnavailable: there is no Go, or the build fails.
    """

    def __init__(self, server: Server, kubeconfig: Path) -> None:
        self._program, self._manifests = find_kueue(), _MODULE.source_of(_GO_MODULE) / "config" / "components"
        self._server = server
        self._kubeconfig = kubeconfig
        self._core: Any = client.CoreV1Api(server.admin)
        self._custom: Any = client.CustomObjectsApi(server.admin)
        self._webhook_port, self._health_port = find_free_port(), find_free_port()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Kueue:
        """Install and start Kueue, and return when its webhooks answer.

        Raises:
            RuntimeError: Kueue has ended; the message has the end of its log.
        """
        with self._cleanup:
            self._namespace = self._server.create_namespace()
            self._cleanup.callback(self._server.delete_namespace, self._namespace)
            self._create_service()
            self._create_crds(self._manifests / "crd")
            self._create_component()
            self._create_webhooks(self._manifests / "webhook" / "manifests.yaml")
            self.start()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def manage(self, namespace: str) -> None:
        """Let Kueue manage a namespace's Jobs, and wait until its webhook does."""
        labels = {"metadata": {"labels": _MANAGED_LABEL}}
        self._core.patch_namespace(namespace, labels, _content_type=MERGE_PATCH)
        container = {"name": "main", "image": "busybox:1"}
        job = {
            "metadata": {"name": "probe", "labels": {QUEUE_LABEL: "probe"}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        batch: Any = client.BatchV1Api(self._server.admin)
        until(lambda: batch.create_namespaced_job(namespace, job, dry_run="All").spec.suspend)

    def start(self) -> None:
        """Start Kueue after `stop`, and return when its webhooks answer.

        Raises:
            RuntimeError: Kueue has ended; the message has the end of its log.
        """
        self._component.start()
        self._mount_certificate()
        until(self._is_ready)
        until(self._webhooks_answer)

    def stop(self) -> None:
        """Stop Kueue as an operator would; until it runs again, the API server refuses what its webhooks check."""
        self._component.stop()

    def _restart(self) -> None:
        """Kill Kueue and start it again: a clean stop right after a start sometimes hangs."""
        self._component.kill()
        self.start()

    @contextlib.contextmanager
    def configured(
        self, *, manage_jobs_without_queue_name: bool = False, feature_gates: Mapping[str, bool] | None = None
    ) -> Iterator[None]:
        """Restart Kueue with other settings, and with the usual ones at the end.

        Args:
            manage_jobs_without_queue_name: whether it also manages Jobs without the label `QUEUE_LABEL`.
            feature_gates: name -> whether it is on; `{"AdmissionGatedBy": False}` imitates Kueue before 0.19.
        """
        self._configure(manage_jobs_without_queue_name, feature_gates)
        try:
            self._restart()
            yield
        finally:
            self._configure()
            self._restart()

    def _create_service(self) -> None:
        """Create what leads the API server to Kueue, and the empty Secret for its certificate."""
        spec = {"type": "ExternalName", "externalName": "localhost"}
        self._core.create_namespaced_service(self._namespace, {"metadata": {"name": _SERVICE}, "spec": spec})
        self._core.create_namespaced_secret(self._namespace, {"metadata": {"name": _SECRET}})

    def _create_crds(self, folder: Path) -> None:
        crds = {crd["metadata"]["name"]: crd for path in folder.glob("bases/*.yaml") for crd in _load(path)}
        for patch in _load(folder / "kustomization.yaml")[0]["patches"]:
            (patched,) = _load(folder / patch["path"])
            conversion = patched["spec"]["conversion"]
            self._point_at_this_process(conversion["webhook"]["clientConfig"])
            crds[patched["metadata"]["name"]]["spec"]["conversion"] = conversion
        self._cleanup.callback(self._remove_crds, list(crds))
        for crd in crds.values():
            self._custom.create_cluster_custom_object(*_CRDS, crd)
        until(lambda: all(map(self._is_established, crds)))

    def _create_component(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="kueue-"))
        reaper = Reaper(folder)
        self._cleanup.callback(reaper.close)
        self._certificates, self._configuration = folder / "certificates", folder / "configuration.json"
        self._certificates.mkdir()
        self._configure()
        arguments = [f"--config={self._configuration}", f"--kubeconfig={self._kubeconfig}"]
        self._component = Component(self._program, arguments, folder / "kueue.log", reaper)
        self._cleanup.callback(self._component.kill)  # a clean stop is only needed to keep data

    def _create_webhooks(self, manifest: Path) -> None:
        for configuration in _load(manifest):
            group, version = configuration["apiVersion"].split("/")
            plural, name = f"{configuration['kind'].lower()}s", f"kueue-{configuration['metadata']['name']}"
            configuration["metadata"]["name"] = name
            configuration["webhooks"] = [one for one in configuration["webhooks"] if _is_needed(one)]
            for webhook in configuration["webhooks"]:
                self._point_at_this_process(webhook["clientConfig"])
                webhook["namespaceSelector"] = {"matchLabels": _MANAGED_LABEL}
            self._custom.create_cluster_custom_object(group, version, plural, configuration)
            self._cleanup.callback(self._custom.delete_cluster_custom_object, group, version, plural, name)

    def _point_at_this_process(self, client_config: Json) -> None:
        """Direct a webhook of Kueue's manifests to the process of this object."""
        client_config["service"] |= {"name": _SERVICE, "namespace": self._namespace, "port": self._webhook_port}

    def _configure(
        self, manage_jobs_without_queue_name: bool = False, feature_gates: Mapping[str, bool] | None = None
    ) -> None:
        """Write the configuration file: https://kueue.sigs.k8s.io/docs/reference/kueue-config.v1beta2/."""
        configuration = {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": self._namespace,
            "webhook": {"host": "127.0.0.1", "port": self._webhook_port, "certDir": str(self._certificates)},
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health_port}"},
            "metrics": {"bindAddress": "0"},
            "leaderElection": {"leaderElect": False},
            # If it is off, Kueue needs a certificate in /etc for its metrics, even if it serves none.
            "internalCertManagement": {"enable": True, "webhookServiceName": _SERVICE, "webhookSecretName": _SECRET},
            "manageJobsWithoutQueueName": manage_jobs_without_queue_name,
            "managedJobsNamespaceSelector": {"matchLabels": _MANAGED_LABEL},
            "integrations": {"frameworks": ["batch/job"]},
            "featureGates": {"VisibilityOnDemand": False, **(feature_gates or {})},
        }
        self._configuration.write_text(json.dumps(configuration))  # JSON is YAML

    def _mount_certificate(self) -> None:
        """Write the Secret to files once Kueue has filled it."""

        def read() -> Json | None:
            self._component.check()
            data: Json | None = self._core.read_namespaced_secret(_SECRET, self._namespace).data
            return data

        for name, value in sorted(until(read).items(), reverse=True):  # Kueue waits for tls.crt: write it last
            path = self._certificates / name
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(value))

    def _is_ready(self) -> bool:
        self._component.check()
        try:
            with requests.Session() as session:
                session.trust_env = False  # ignore the machine's proxy
                return session.get(f"http://127.0.0.1:{self._health_port}/readyz", timeout=_CALL_SECONDS).ok
        except OSError:
            return False

    def _webhooks_answer(self) -> bool:
        """Return whether the API server can call the webhooks; one of them adds a finalizer."""
        self._component.check()
        flavor = {"apiVersion": f"{API_GROUP}/{API_VERSION}", "kind": "ResourceFlavor", "metadata": {"name": "probe"}}
        try:
            made = self._custom.create_cluster_custom_object(
                API_GROUP, API_VERSION, "resourceflavors", flavor, dry_run="All"
            )
        except ServiceException:
            return False
        return "finalizers" in made["metadata"]

    def _is_established(self, name: str) -> bool:
        status = self._custom.get_cluster_custom_object(*_CRDS, name).get("status", {})
        conditions = status.get("conditions") or ()  # it is null at first
        return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)

    def _remove_crds(self, names: list[str]) -> None:
        """Remove the CustomResourceDefinitions with all their objects, whose finalizers only Kueue would remove."""
        for name in names:
            with contextlib.suppress(NotFoundException):
                self._remove_finalizers(name.partition(".")[0])
            with contextlib.suppress(NotFoundException):
                self._custom.delete_cluster_custom_object(*_CRDS, name)
        until(lambda: all(map(self._is_gone, names)))

    def _remove_finalizers(self, plural: str) -> None:
        patch = {"metadata": {"finalizers": None}}
        for one in self._custom.list_cluster_custom_object(API_GROUP, API_VERSION, plural)["items"]:
            name, namespace = one["metadata"]["name"], one["metadata"].get("namespace")
            with contextlib.suppress(NotFoundException):
                if namespace is None:
                    self._custom.patch_cluster_custom_object(API_GROUP, API_VERSION, plural, name, patch)
                else:
                    self._custom.patch_namespaced_custom_object(API_GROUP, API_VERSION, namespace, plural, name, patch)

    def _is_gone(self, name: str) -> bool:
        try:
            self._custom.get_cluster_custom_object(*_CRDS, name)
        except NotFoundException:
            return True
        return False


def _load(path: Path) -> list[Any]:
    """Read a file's YAML documents; the safe loader in C, because one of Kueue's files has 19,000 lines."""
    return list(yaml.load_all(path.read_text("utf-8"), Loader=yaml.CSafeLoader))


def _is_needed(webhook: Json) -> bool:
    """Return whether a webhook of Kueue's manifests is for Jobs or for a kind of Kueue's own."""
    return all(group in ("batch", API_GROUP) for rule in webhook["rules"] for group in rule["apiGroups"])


if __name__ == "__main__":
    try:
        print(find_kueue())
    except BuildUnavailable as unavailable:
        sys.exit(f"no Kueue: {unavailable}")
