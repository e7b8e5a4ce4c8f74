"""Callers told by where their connections come from, and by what the API server says of it then."""

from typing import Any

import pytest
import requests
from kubernetes import client
from requests.adapters import HTTPAdapter

from tests.e2e.callers import Replica
from tests.integration.dispatching import until
from tests.support.servers import SERVICE_ACCOUNT, Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

PRIVATE: dict[str, Any] = {"secret": {"Image": "busybox:1", "DependsOn": ["nobody"]}}
"""Runs of it stay queued."""


class BoundAdapter(HTTPAdapter):
    """Connects from an address of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Bind every connection; port 0: any."""
        super().init_poolmanager(*args, **options, source_address=(self._address, 0))


def call_from(address: str, service: ServiceProcess) -> requests.Response:
    """Start a run of the private definition from an address."""
    with requests.Session() as session:
        session.mount("http://", BoundAdapter(address))
        return session.post(f"{service.url}/job/secret", timeout=DEADLINE_SECONDS)


@pytest.mark.embedded_only("the addresses of its pods are the machine's own, so that a test can call from them")
def test_a_pod_is_trusted_by_its_address_for_as_long_as_it_runs(
    server: Server, namespace: str, replica: Replica
) -> None:
    """Where the connection comes from decides: a running pod is let in; the machine is not, nor a pod that is gone."""
    core = client.CoreV1Api(server.admin)
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "600"]}],
    }
    core.create_namespaced_pod(namespace, {"metadata": {"name": "web"}, "spec": spec})
    status = until(
        lambda: (status := core.read_namespaced_pod_status("web", namespace).status).phase == "Running" and status
    )
    with replica(PRIVATE) as service:
        assert call_from(status.pod_ip, service).status_code == 202
        assert call_from("127.0.0.1", service).status_code == 403
        core.delete_namespaced_pod("web", namespace)
        until(lambda: call_from(status.pod_ip, service).status_code == 403)
        assert "pod=web caller=trusted-pod" in service.log_text
        assert f"address={status.pod_ip} caller=no-pod-of-the-namespace" in service.log_text


@pytest.mark.real_only("nobody needs rights there")
def test_without_the_right_to_review_tokens_nobody_is_let_in_by_one(
    server: Server, namespace: str, replica: Replica
) -> None:
    """The component that grants it was forgotten: 503, which says that it isn't the caller's fault, and the log why."""
    core, rights = client.CoreV1Api(server.admin), client.RbacAuthorizationV1Api(server.admin)
    spec = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token(SERVICE_ACCOUNT, namespace, spec).status.token
    binding = rights.read_cluster_role_binding(f"slimfaas-token-review-{namespace}")
    binding.metadata.resource_version = None

    answers: list[requests.Response] = []

    def call(service: ServiceProcess) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(f"{service.url}/job/secret", headers=headers, timeout=DEADLINE_SECONDS)

    with replica(PRIVATE, SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS=f"{namespace}:*") as service:
        until(lambda: call(service).status_code == 202)
        rights.delete_cluster_role_binding(binding.metadata.name)
        try:
            # The API server learns of it a moment later; and a token that was found good is so for ten seconds.
            until(lambda: answers.append(call(service)) or answers[-1].status_code != 202)
        finally:
            rights.create_cluster_role_binding(binding)  # deleted with the namespace
        answer = answers[-1]
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert "could not identify the caller" in answer.json()["detail"]
        assert "tokenreviews" in service.log_text
        assert token not in service.log_text
        # Once it is granted, nothing has to be started anew.
        until(lambda: call(service).status_code == 202)
