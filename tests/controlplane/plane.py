"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, its controllers and scheduler, one kwok node.

::

    with ControlPlane() as plane:
        kubeconfig = plane.admin_kubeconfig
        ...
        plane.api_server.kill()
        plane.api_server.start()
        plane.wait_ready()

`python -m tests.controlplane` starts one and keeps it until interrupted.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.controlplane.build import find_programs
from tests.controlplane.components import Component, Reaper
from tests.controlplane.node import NODE_NAME, node
from tests.controlplane.settings import Settings
from tests.support.ports import find_free_port

AUDIT_LOG_VARIABLE = "SLIMFAAS_TEST_AUDIT_LOG"
"""Names the audit log of a control plane started for the tests; not set for a given cluster."""

_READY_SECONDS = 90.0
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.05


class ControlPlane:
    """A control plane in a folder of its own; a context manager that is ready once entered.

    All of it ends with the process that entered it, even if that process is killed.
    """

    def __init__(
        self,
        *,
        ready_seconds: float = _READY_SECONDS,
        keeps_history: bool = False,
        authentication: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare a control plane; nothing is started yet.

        Args:
            ready_seconds: How long the plane may take to become ready; after that, entering fails.
            keeps_history: Let etcd keep every revision of every object, as JSON.
            authentication: The API server's AuthenticationConfiguration; None: it has none.
        """
        self._ready_seconds = ready_seconds
        self._keeps_history = keeps_history
        self._authentication = authentication
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> ControlPlane:
        """Start everything, and return when a pod can be scheduled.

        Raises:
            ControlPlaneUnavailable: there are no programs to start.
            TimeoutError: it is not ready in time.
            RuntimeError: a program has ended; the message has the end of its log.
        """
        with self._cleanup:
            self._start()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def url(self) -> str:
        """The API server's URL; constant for the plane's whole life."""
        return f"https://127.0.0.1:{self._settings.api_port}"

    @property
    def etcd_url(self) -> str:
        """Etcd's URL, where it also supports JSON: https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/."""
        return self._settings.etcd_url

    @property
    def etcd_folder(self) -> Path:
        """The folder with etcd's data."""
        return self._settings.etcd_folder

    @property
    def ca_file(self) -> Path:
        """The certificates with which to verify the API server."""
        return self._settings.ca_file

    @property
    def audit_log(self) -> Path:
        """The audit log: one JSON event per line for every request except the control plane's own.

        Events are written before the response is sent.
        https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
        """
        return self._settings.audit_log

    @property
    def components(self) -> list[Component]:
        """Every program, in the order of their start."""
        return [self.etcd, self.api_server, self.controller_manager, self.scheduler, self.kwok]

    @property
    def reaper(self) -> Reaper:
        """The reaper of the plane's programs, which may watch other processes as well."""
        return self._reaper

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> Any:
        """Send one request as the administrator, and return the JSON of the response.

        Raises:
            requests.HTTPError: the status is 400 or more.
            requests.ConnectionError: there is no response.
        """
        answer = self._request(
            method,
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.admin_token}", "Content-Type": content_type},
        )
        answer.raise_for_status()
        return answer.json()

    def create_namespace(self, name: str) -> None:
        """Create a namespace, and wait until pods can be created in it."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self._wait_exists(f"/api/v1/namespaces/{name}/serviceaccounts/default")

    def write_kubeconfig(self, token: str, namespace: str, *, server_url: str | None = None) -> Path:
        """Write a kubeconfig file.

        Args:
            token: The user's token.
            namespace: The context's namespace.
            server_url: A proxy's URL, to connect to instead of the API server.
        """
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        cluster: dict[str, Any] = {"server": server_url or self.url}
        if cluster["server"].startswith("https:"):
            cluster["certificate-authority-data"] = authority
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user", "namespace": namespace}}],
            "current-context": "plane",
        }
        path = self.folder / f"kubeconfig-{secrets.token_hex(4)}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(configuration))  # JSON is YAML
        return path

    def request_token(self, namespace: str, service_account: str, *, expiration_seconds: int = 3600) -> str:
        """Return a token of a ServiceAccount, from a TokenRequest; its lifetime must be at least 600 s."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": expiration_seconds},
        }
        token: str = self.call("POST", path, request)["status"]["token"]
        return token

    def etcd_revision(self) -> int:
        """Return the last revision that etcd has stored.

        Raises:
            requests.RequestException: etcd does not answer.
        """
        return int(self._etcd_call("maintenance/status", {})["header"]["revision"])

    def compact_history(self) -> int:
        """Compact etcd's history up to now, and return the oldest revision that remains.

        Lists and watches from an older resourceVersion get 410 Gone, but only when the API server asks etcd. Its watch
        cache has a history of its own until it is restarted (see `expire_history`).
        """
        revision = self.etcd_revision()
        self._etcd_call("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def expire_history(self) -> None:
        """Make every resourceVersion so far too old to watch from: compact, and restart the API server."""
        # Another write, because otherwise the newest resourceVersion so far would still be in the history.
        self.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "history-"}})
        self.compact_history()
        self.api_server.kill()
        self.api_server.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the API server reports that it is ready.

        Raises:
            TimeoutError: it is not ready in time.
            RuntimeError: a program of the plane has ended.
        """
        self._wait_until("the API server to be ready", self._api_ready)

    def restart_controllers(self) -> None:
        """Restart the controllers, the scheduler and the node once the API server is ready.

        After each outage client-go waits longer before it watches again, up to 30 s. And kwok gives up on a pod whose
        status it could not write, where a kubelet would retry.
        """
        self.wait_ready()
        for component in (self.controller_manager, self.scheduler, self.kwok):
            component.kill()
        # Otherwise the next kwok would wait for this lease to expire. The lease may be missing if this runs twice.
        self._delete(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE_NAME}")
        for component in (self.controller_manager, self.scheduler, self.kwok):
            component.start()

    def _start(self) -> None:
        programs = find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="controlplane-"))
        self._reaper = Reaper(self.folder)
        self._cleanup.callback(self._reaper.close)
        self.admin_token, plane_token = secrets.token_hex(16), secrets.token_hex(16)
        ports = (find_free_port(), find_free_port(), find_free_port())
        self._settings = Settings(
            self.folder, *ports, keeps_history=self._keeps_history, authentication=self._authentication
        )
        self._settings.write_files(self.admin_token, plane_token)
        arguments = self._settings.arguments()

        def add(name: str) -> Component:
            log = self.folder / f"{name}.log"
            made = Component(programs[name], arguments[name], log, self._reaper)
            self._cleanup.callback(made.kill)  # a clean stop is only needed to keep data
            return made

        self.etcd = add("etcd")
        self.api_server = add("kube-apiserver")
        self.controller_manager = add("kube-controller-manager")
        self.scheduler = add("kube-scheduler")
        self.kwok = add("kwok")

        self.etcd.start()
        self.api_server.start()
        self._wait_until("the API server to be ready", self._api_ready)
        self.admin_kubeconfig = self.write_kubeconfig(self.admin_token, "default")
        self.write_kubeconfig(plane_token, "default").rename(self._settings.kubeconfig)
        for component in (self.controller_manager, self.scheduler, self.kwok):
            component.start()
        self.call("POST", "/api/v1/nodes", node())
        self._wait_exists("/api/v1/namespaces/default/serviceaccounts/default")
        self._wait_pod_runs()

    def _wait_pod_runs(self) -> None:
        """Wait until one pod was scheduled and runs, which needs every program of the plane."""
        pods = "/api/v1/namespaces/default/pods"
        container = {"name": "probe", "image": "probe"}
        self.call("POST", pods, {"metadata": {"name": "probe"}, "spec": {"containers": [container]}})
        self._wait_until(
            "a pod to run", lambda: bool(self.call("GET", f"{pods}/probe")["status"]["phase"] == "Running")
        )
        self.call("DELETE", f"{pods}/probe", {"gracePeriodSeconds": 0})

    def _wait_exists(self, path: str) -> None:
        def exists() -> bool:
            try:
                self.call("GET", path)
            except requests.HTTPError as error:
                if error.response.status_code != requests.codes.not_found:
                    raise
                return False
            return True

        self._wait_until(f"{path} to exist", exists)

    def _delete(self, path: str) -> None:
        try:
            self.call("DELETE", path)
        except requests.HTTPError as error:
            if error.response.status_code != requests.codes.not_found:
                raise

    def _wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._ready_seconds
        while not condition():
            for component in self.components:
                component.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {self._ready_seconds} s for {what}")
            time.sleep(_POLL_SECONDS)

    def _api_ready(self) -> bool:
        try:
            return self._request("GET", f"{self.url}/readyz").ok
        except OSError:
            return False  # not listening yet, or its certificate is not written yet

    def _etcd_call(self, path: str, body: dict[str, Any]) -> Any:
        """Call etcd through its JSON gateway: https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/."""
        answer = self._request("POST", f"{self._settings.etcd_url}/v3/{path}", data=json.dumps(body))
        answer.raise_for_status()
        return answer.json()

    def _request(
        self, method: str, url: str, *, data: str | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Send a request on a new connection; a kept one may not survive what tests do."""
        with requests.Session() as session:
            session.trust_env = False  # ignore the machine's proxy and certificates
            ca = str(self.ca_file)
            return session.request(method, url, data=data, headers=headers, verify=ca, timeout=_CALL_SECONDS)
