"""A namespace in which Roles give accounts permissions on definitions, and a service in it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from werkzeug.test import TestResponse

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import UNTRUSTED_CLIENT
from tests.support.faults import FaultProxy
from tests.support.servers import AUTH_DELEGATOR, Server, delegated, write_kubeconfig
from tests.support.waiting import until

DEFINITIONS = {
    "public": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]},
    "fibonacci": {"Image": "busybox:1", "DependsOn": ["nobody"]},
    "other": {"Image": "busybox:1", "DependsOn": ["nobody"]},
}
ROLES = {"jane": "start-fibonacci", "john": "start-fibonacci", "viewer": "see-all-runs", "operator": "operate"}
ACCOUNTS = (*ROLES, "stranger")


@dataclass(frozen=True)
class RbacFixture:
    """A namespace with the example Roles, and a service in it."""

    settings: Settings
    proxy: FaultProxy
    server: Server
    namespace: str

    def token(self, account: str, *audiences: str) -> str:
        """Make a token of an account; without audiences it is for the API server."""
        spec = {"spec": {"audiences": list(audiences), "expirationSeconds": 600}}
        core: Any = client.CoreV1Api(self.server.admin)
        return str(core.create_namespaced_service_account_token(account, self.namespace, spec).status.token)

    def start(self, **settings: Any) -> "Service":
        """Start a service that has nothing cached."""
        values = {name: getattr(self.settings, name) for name in self.settings.__slots__} | settings
        return Service(self, create_app(Settings(**values)).test_client(), {})


@dataclass(frozen=True)
class Service:
    """Sends requests to a service with the tokens of accounts."""

    fixture: RbacFixture
    client: Any
    tokens: dict[str, str]

    def call(self, method: str, path: str, account: str | None = None, data: str = "") -> TestResponse:
        """Send a request with the token of an account; `None`: without a token."""
        if account is not None and account not in self.tokens:
            self.tokens[account] = self.fixture.token(account, "slimfaas-jobs")
        headers = {} if account is None else {"Authorization": f"Bearer {self.tokens[account]}"}
        response: TestResponse = self.client.open(
            path, method=method, headers=headers, data=data, environ_base=UNTRUSTED_CLIENT
        )
        return response

    def begin(self, definition: str, account: str | None) -> str:
        """Start a run; return its path."""
        response = self.call("POST", f"/job/{definition}", account)
        assert response.status_code == 202, response.text
        return str(response.headers["Location"])


@contextmanager
def permitted(server: Server, folder: Path) -> Iterator[RbacFixture]:
    """Make a namespace with the Roles of k8s/components/rbac-authorization/example-roles.yaml, bound to `ACCOUNTS`."""
    namespace = server.create_namespace()
    core: Any = client.CoreV1Api(server.admin)
    rights: Any = client.RbacAuthorizationV1Api(server.admin)
    for account in ACCOUNTS:
        core.create_namespaced_service_account(namespace, {"metadata": {"name": account}})
    for role in yaml.safe_load_all(AUTH_DELEGATOR.with_name("example-roles.yaml").read_text("utf-8")):
        rights.create_namespaced_role(namespace, role)
    for account, role in ROLES.items():
        rights.create_namespaced_role_binding(namespace, binding(account, role, namespace))
    with ExitStack() as stack:
        stack.enter_context(delegated(server, namespace))
        proxy = stack.enter_context(FaultProxy(server.url, ca=server.ca_file))
        kubeconfig = write_kubeconfig(folder, server, namespace, url=proxy.url)
        settings = Settings(
            configuration=json.dumps({"Configurations": DEFINITIONS}),
            kubeconfig=str(kubeconfig),
            dispatcher=False,
            authorization="rbac",
        )
        fixture = RbacFixture(settings, proxy, server, namespace)
        service = fixture.start()
        # The real API server learns of Roles and bindings by watches.
        until(lambda: all(service.call("GET", "/job/fibonacci", account).status_code == 200 for account in ROLES))
        yield fixture
    server.delete_namespace(namespace)


def binding(account: str, role: str, namespace: str) -> Any:
    """Bind a Role to an account of the same namespace."""
    return {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
