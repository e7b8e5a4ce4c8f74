"""Identification of callers by their address, and by tokens without the right to review them."""

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
"""A private definition whose runs stay queued."""


class BoundAdapter(HTTPAdapter):
    """Connects from a given address."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Bind every connection to the address, with any port."""
        super().init_poolmanager(*args, **options, source_address=(self._address, 0))


def call_from(address: str, service: ServiceProcess) -> requests.Response:
    """Request a run of the private definition from an address."""
    with requests.Session() as session:
        session.mount("http://", BoundAdapter(address))
        return session.post(f"{service.url}/job/secret", timeout=DEADLINE_SECONDS)


@pytest.mark.embedded_only("its pods have loopback addresses, from which a test can call")
def test_pod_address__is_trusted_only_while_the_pod_runs(server: Server, namespace: str, replica: Replica) -> None:
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
        # A thread writes these lines, a moment after the responses.
        for line in ("pod=web caller=trusted-pod", f"address={status.pod_ip} caller=no-pod-of-the-namespace"):
            until(lambda line=line: line in service.log_text)


@pytest.mark.real_only("the embedded cluster does not check rights")
def test_token__without_the_right_to_review_tokens__is_answered_with_503(
    server: Server, namespace: str, replica: Replica
) -> None:
    """The token-review component is missing: the caller gets a 503, and the log has the reason."""
    core, rights = client.CoreV1Api(server.admin), client.RbacAuthorizationV1Api(server.admin)
    spec = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token(SERVICE_ACCOUNT, namespace, spec).status.token
    binding = rights.read_cluster_role_binding(f"slimfaas-token-review-{namespace}")
    binding.metadata.resource_version = None

    responses: list[requests.Response] = []

    def call(service: ServiceProcess) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(f"{service.url}/job/secret", headers=headers, timeout=DEADLINE_SECONDS)

    with replica(PRIVATE, SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS=f"{namespace}:*") as service:
        until(lambda: call(service).status_code == 202)
        rights.delete_cluster_role_binding(binding.metadata.name)
        try:
            # The API server notices the deletion later, and the service caches a valid token for ten seconds.
            until(lambda: responses.append(call(service)) or responses[-1].status_code != 202)
        finally:
            rights.create_cluster_role_binding(binding)  # deleted with the namespace
        response = responses[-1]
        assert (response.status_code, response.headers["Content-Type"]) == (503, "application/problem+json")
        assert "could not identify the caller" in response.json()["detail"]
        assert "tokenreviews" in service.log_text
        assert token not in service.log_text
        # Once the right is granted, no restart is needed.
        until(lambda: call(service).status_code == 202)
