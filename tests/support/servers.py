"""The API server that tests run against: the embedded cluster, or a real one named by KUBECONFIG.

`pytest --server real` uses the cluster of KUBECONFIG, which must be an administrator's kubeconfig. Tests work in
namespaces that they create and delete. The service under test runs as its own ServiceAccount, with the Role of
`k8s/base/rbac.yaml` and the right of `k8s/components/token-review` only.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml
from kubernetes import client, config

from devcluster.cluster import Cluster, Options
from tests.support.waiting import DEADLINE_SECONDS

_K8S = Path(__file__).resolve().parents[2] / "k8s"

RBAC = _K8S / "base" / "rbac.yaml"
"""The service's ServiceAccount, Role and RoleBinding."""

SPLIT_RBAC = _K8S / "overlays" / "production" / "rbac.yaml"
"""The same for web and dispatcher as separate Deployments, each with its own ServiceAccount; the web part has the one
of `RBAC`."""

TOKEN_REVIEW = _K8S / "components" / "token-review" / "rbac.yaml"
"""The cluster-wide right to create TokenReviews."""

AUTH_DELEGATOR = _K8S / "components" / "rbac-authorization" / "rbac.yaml"
"""The cluster-wide right to review tokens and access."""

KUEUE = _K8S / "components" / "kueue" / "rbac.yaml"
"""The right to read Kueue's Workloads."""

SERVICE_ACCOUNT = "slimfaas"
DISPATCHER_ACCOUNT = "slimfaas-dispatcher"


class Server(Protocol):
    """An API server under test.

    Attributes:
        name: `embedded` or `real`.
        url: its address.
        ca_file: the CA certificate of its server certificate; `None` for plain HTTP.
        runs_processes: whether containers run as real processes, with their own output and exit codes.
        admin: a client with all rights.
    """

    name: str
    url: str
    ca_file: Path | None
    runs_processes: bool
    admin: client.ApiClient

    def create_namespace(self) -> str:
        """Create a namespace for one test, with the service's Role in it."""

    def delete_namespace(self, name: str) -> None:
        """Delete such a namespace, without waiting until it is gone."""

    def token(self, namespace: str, account: str = SERVICE_ACCOUNT) -> str | None:
        """Return a token of a ServiceAccount; `None` where the server does not authenticate."""


def write_kubeconfig(
    folder: Path, server: Server, namespace: str, *, url: str | None = None, account: str = SERVICE_ACCOUNT
) -> Path:
    """Write a kubeconfig for the service under test.

    Args:
        folder: where to write it.
        server: the API server.
        namespace: the context's namespace.
        url: the URL of a proxy in front of the server; `None` for the server itself.
        account: the ServiceAccount whose token it holds.
    """
    cluster: dict[str, Any] = {"server": url or server.url}
    if server.ca_file is not None and cluster["server"].startswith("https:"):
        cluster["certificate-authority"] = str(server.ca_file)
    if url is not None and url.startswith("https:"):
        cluster["tls-server-name"] = urlsplit(server.url).hostname  # a proxy has no certificate of its own
    token = server.token(namespace, account)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    }
    path = folder / f"kubeconfig-{secrets.token_hex(4)}"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def grant(server: Server, namespace: str, file: Path) -> None:
    """Create or replace the ServiceAccounts, Roles and RoleBindings of a file."""
    core, rights = client.CoreV1Api(server.admin), client.RbacAuthorizationV1Api(server.admin)
    calls: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "ServiceAccount": (core.create_namespaced_service_account, core.replace_namespaced_service_account),
        "Role": (rights.create_namespaced_role, rights.replace_namespaced_role),
        "RoleBinding": (rights.create_namespaced_role_binding, rights.replace_namespaced_role_binding),
    }
    for manifest in yaml.safe_load_all(file.read_text("utf-8")):
        create, replace = calls[manifest["kind"]]
        try:
            create(namespace, manifest)
        except client.ApiException as error:
            if error.status != 409:
                raise
            replace(manifest["metadata"]["name"], namespace, manifest)


@contextmanager
def delegated(server: Server, namespace: str) -> Iterator[None]:
    """Give the service in a namespace the right of `AUTH_DELEGATOR`; the embedded cluster does not authorize."""
    if server.ca_file is None:
        yield
        return
    rights = client.RbacAuthorizationV1Api(server.admin)
    binding = yaml.safe_load(AUTH_DELEGATOR.read_text("utf-8"))
    binding["metadata"]["name"] += f"-{namespace}"
    binding["subjects"][0]["namespace"] = namespace
    rights.create_cluster_role_binding(binding)
    try:
        yield
    finally:
        rights.delete_cluster_role_binding(binding["metadata"]["name"])


@contextmanager
def embedded_server(*, history_size: int = Options().history_size) -> Iterator[Server]:
    """Start an embedded cluster in this process; a watch can resume over `history_size` changes of each kind."""
    # Failed pods are retried quickly; the default is 10 s and more.
    with Cluster(Options(back_off_seconds=0.02, history_size=history_size)) as cluster:
        yield serve(cluster)


def serve(cluster: Cluster) -> Server:
    """Use an embedded cluster that the caller starts and stops."""
    return _Embedded(cluster)


class _Embedded:
    name = "embedded"
    ca_file: Path | None = None
    runs_processes = True

    def __init__(self, cluster: Cluster) -> None:
        self.url = cluster.url
        self.admin = client.ApiClient(client.Configuration(host=cluster.url))

    def create_namespace(self) -> str:
        return _new_name()

    def delete_namespace(self, name: str) -> None:
        batch, apps, core = client.BatchV1Api(self.admin), client.AppsV1Api(self.admin), client.CoreV1Api(self.admin)
        for delete in (
            batch.delete_collection_namespaced_job,
            apps.delete_collection_namespaced_deployment,
            apps.delete_collection_namespaced_stateful_set,
            core.delete_collection_namespaced_pod,
        ):
            delete(name, propagation_policy="Background", grace_period_seconds=0)

    def token(self, namespace: str, account: str = SERVICE_ACCOUNT) -> str | None:
        return None


@contextmanager
def real_server() -> Iterator[Server]:
    """Use the cluster of KUBECONFIG."""
    yield connect_to(os.environ["KUBECONFIG"])


def connect_to(kubeconfig: str) -> Server:
    """Use the cluster of an administrator's kubeconfig."""
    return _Real(kubeconfig)


class _Real:
    name = "real"
    runs_processes = False

    def __init__(self, kubeconfig: str) -> None:
        settings = client.Configuration()
        load: Callable[..., None] = config.load_kube_config
        load(config_file=kubeconfig, client_configuration=settings)
        self.url = settings.host
        self.ca_file = Path(settings.ssl_ca_cert) if settings.ssl_ca_cert else None
        self.admin = client.ApiClient(settings)

    def create_namespace(self) -> str:
        name = _new_name()
        core, rights = client.CoreV1Api(self.admin), client.RbacAuthorizationV1Api(self.admin)
        core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
        grant(self, name, RBAC)
        self._grant_token_reviews(rights, name)
        # The API server rejects pods until the namespace has its default ServiceAccount.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._has_default_account(core, name):
            assert time.monotonic() < deadline, f"namespace {name} got no default ServiceAccount"
            time.sleep(0.02)
        return name

    @staticmethod
    def _grant_token_reviews(rights: client.RbacAuthorizationV1Api, namespace: str) -> None:
        role, binding = yaml.safe_load_all(TOKEN_REVIEW.read_text("utf-8"))
        own = f"{role['metadata']['name']}-{namespace}"
        role["metadata"]["name"] = binding["metadata"]["name"] = binding["roleRef"]["name"] = own
        binding["subjects"][0]["namespace"] = namespace
        rights.create_cluster_role(role)
        rights.create_cluster_role_binding(binding)

    @staticmethod
    def _has_default_account(core: client.CoreV1Api, namespace: str) -> bool:
        accounts = core.list_namespaced_service_account(namespace).items
        return any(account.metadata is not None and account.metadata.name == "default" for account in accounts)

    def delete_namespace(self, name: str) -> None:
        client.CoreV1Api(self.admin).delete_namespace(name)
        rights = client.RbacAuthorizationV1Api(self.admin)
        rights.delete_cluster_role_binding(f"slimfaas-token-review-{name}")
        rights.delete_cluster_role(f"slimfaas-token-review-{name}")

    def token(self, namespace: str, account: str = SERVICE_ACCOUNT) -> str | None:
        body = {"spec": {"expirationSeconds": 3600}}
        # The generated class requires audiences; the API does not.
        create: Callable[..., Any] = client.CoreV1Api(self.admin).create_namespaced_service_account_token
        token: str = create(account, namespace, body).status.token
        return token


def names_of(fixtures: Iterable[object]) -> list[str]:
    """Return the names of the servers among a test's fixtures."""
    return sorted({fixture.name for fixture in fixtures if isinstance(fixture, _Embedded | _Real)})


def _new_name() -> str:
    return f"test-{secrets.token_hex(4)}"
