"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, its controllers and scheduler, one kwok node.

::

    with ControlPlane() as plane:
        kubeconfig = plane.admin_kubeconfig
        ...
        plane.api_server.kill()
        plane.api_server.start()
        plane.wait_ready()

`python -m tests.controlplane` starts one and keeps it until it is interrupted.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.controlplane.build import find_programs
from tests.controlplane.components import Component, Warden
from tests.controlplane.node import NODE_NAME, node
from tests.controlplane.settings import Settings
from tests.support.ports import find_free_port

AUDIT_LOG_VARIABLE = "SLIMFAAS_TEST_AUDIT_LOG"
"""Names the audit log of a control plane that was started for the tests; not set for a cluster of the caller's."""

_READY_SECONDS = 90.0
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.05


class ControlPlane:
    """A control plane of its own in a folder of its own; a context manager, ready once it is entered.

    Nothing of it outlives the process that entered it, even when that process is killed.
    """

    def __init__(self, *, ready_seconds: float = _READY_SECONDS, keeps_history: bool = False) -> None:
        """Nothing is started yet.

        Args:
            ready_seconds: How long it may be until the plane is ready; then entering it fails with what it waited for.
            keeps_history: Have etcd keep every revision of every object, as JSON.
        """
        self._ready_seconds = ready_seconds
        self._keeps_history = keeps_history
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> ControlPlane:
        """Starts everything, and returns when a pod can be scheduled.

        Raises:
            ControlPlaneUnavailable: when there are no programs to start.
            TimeoutError: when it isn't ready in time.
            RuntimeError: when a program ends instead; the message has the end of its log.
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
        """The API server's; the same for the plane's whole life."""
        return f"https://127.0.0.1:{self._settings.api_port}"

    @property
    def etcd_url(self) -> str:
        """Etcd's, where it also speaks JSON: https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/."""
        return self._settings.etcd_url

    @property
    def ca_file(self) -> Path:
        """The certificates that the API server's own is verified against."""
        return self._settings.ca_file

    @property
    def audit_log(self) -> Path:
        """One JSON event a line, of every request but the control plane's own, written before it is answered.

        https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
        """
        return self._settings.audit_log

    @property
    def components(self) -> list[Component]:
        """Every program, in the order in which they are started."""
        return [self.etcd, self.api_server, self.controller_manager, self.scheduler, self.kwok]

    @property
    def warden(self) -> Warden:
        """Kills what it is told of when this process is gone, as it does with the plane's own programs."""
        return self._warden

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> Any:
        """Makes one call as the administrator, and returns the JSON of its answer.

        Raises:
            requests.HTTPError: when the answer's status is 400 or more.
            requests.ConnectionError: when there is no answer.
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
        """Creates a namespace, and returns when pods can be created in it."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self._wait_exists(f"/api/v1/namespaces/{name}/serviceaccounts/default")

    def write_kubeconfig(self, token: str, namespace: str, *, server_url: str | None = None) -> Path:
        """Writes a kubeconfig file.

        Args:
            token: Of the user.
            namespace: The context's.
            server_url: Where to connect to in the API server's place: a proxy's.
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
        """Returns a token of a ServiceAccount, from TokenRequest; the API server grants no less than 600 s."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": expiration_seconds},
        }
        token: str = self.call("POST", path, request)["status"]["token"]
        return token

    def compact_history(self) -> int:
        """Removes the history before now from etcd, and returns the revision that it now begins with.

        Lists and watches from an older resourceVersion get 410 Gone, but only where the API server asks etcd:
        its watch cache has a history of its own, which lasts until it is restarted (`expire_history`).
        """
        revision = int(self._etcd_call("maintenance/status", {})["header"]["revision"])
        self._etcd_call("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def expire_history(self) -> None:
        """Makes every resourceVersion seen so far too old to watch from: compacts, and restarts the API server."""
        # Writes once more, or the newest resourceVersion seen would be the one that the history begins with.
        self.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "history-"}})
        self.compact_history()
        self.api_server.kill()
        self.api_server.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when the API server says that it is ready.

        Raises:
            TimeoutError: when it doesn't in time.
            RuntimeError: when a program of the plane has ended.
        """
        self._wait_until("the API server to be ready", self._api_ready)

    def restart_controllers(self) -> None:
        """Has the controllers, the scheduler and the node look at everything anew, once the API server is ready.

        Each outage makes client-go wait longer before it watches again, up to 30 s; and kwok gives a pod up whose
        status it could not write, where the kubelet that it stands for would try again.
        """
        self.wait_ready()
        for component in (self.controller_manager, self.scheduler, self.kwok):
            component.kill()
        # Else the next kwok waits for the end of this one's lease; gone it is where this is done once more.
        self._delete(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE_NAME}")
        for component in (self.controller_manager, self.scheduler, self.kwok):
            component.start()

    def _start(self) -> None:
        programs = find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="controlplane-"))
        self._warden = Warden(self.folder)
        self._cleanup.callback(self._warden.close)
        self.admin_token, plane_token = secrets.token_hex(16), secrets.token_hex(16)
        ports = (find_free_port(), find_free_port(), find_free_port())
        self._settings = Settings(self.folder, *ports, keeps_history=self._keeps_history)
        self._settings.write_files(self.admin_token, plane_token)
        arguments = self._settings.arguments()

        def add(name: str) -> Component:
            log = self.folder / f"{name}.log"
            made = Component(programs[name], arguments[name], log, self._warden)
            self._cleanup.callback(made.kill)  # in good order is for data that somebody wants to keep
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
        """Has one pod scheduled and run, which takes every program of the plane."""
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
            return False  # not listening yet, or its certificate isn't written

    def _etcd_call(self, path: str, body: dict[str, Any]) -> Any:
        """Calls etcd through its JSON gateway: https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/."""
        answer = self._request("POST", f"{self._settings.etcd_url}/v3/{path}", data=json.dumps(body))
        answer.raise_for_status()
        return answer.json()

    def _request(
        self, method: str, url: str, *, data: str | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Makes a request on a connection of its own, for one that is kept may not survive what tests do."""
        with requests.Session() as session:
            session.trust_env = False  # a machine's own proxy and certificates have no place here
            ca = str(self.ca_file)
            return session.request(method, url, data=data, headers=headers, verify=ca, timeout=_CALL_SECONDS)
