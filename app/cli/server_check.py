"""`slimfaas-jobs validate --server`: a dry run of each definition's Job on an API server."""

from functools import cache

from app.cli.validate import ServerCheck, ServerUnavailableError
from app.definitions.preflight import check_definition
from app.kube.client import NamespacedClient
from app.kube.credentials import ClusterSettingsError, connect
from app.kube.errors import ClusterError
from app.settings import SettingsError, read_cluster_settings
from schemas.configuration import Definitions
from schemas.faults import Fault

_MUST_BE = "must be the name of a Kubernetes namespace (a DNS label)"


def make_server_check(namespace: str | None) -> ServerCheck:
    """Make the check for `app.cli.validate.validate`. It connects when it is first called.

    Args:
        namespace: the namespace of the dry run; `None`: `SLIMFAAS_NAMESPACE`, else the ConfigMap's.

    Raises:
        SettingsError: the namespace is invalid.
    """
    try:
        kubeconfig, configured_namespace = read_cluster_settings(namespace)
    except SettingsError as error:
        raise error if namespace is None else SettingsError(f"--namespace {_MUST_BE}") from error

    @cache
    def client_of(name: str | None) -> NamespacedClient:
        return NamespacedClient(connect(kubeconfig, name))

    def check(definitions: Definitions, own_namespace: str | None) -> tuple[list[Fault], list[Fault]]:
        faults: list[Fault] = []
        warnings: list[Fault] = []
        try:
            read_cluster_settings(own_namespace)  # the namespace becomes part of a URL
        except SettingsError:
            return [Fault("", f"the object's namespace {_MUST_BE}")], []
        try:
            client = client_of(configured_namespace or own_namespace)
            for definition in definitions.values():
                checked = check_definition(client, definition)
                faults += checked.faults
                warnings += checked.warnings
        except ClusterSettingsError as error:
            raise ServerUnavailableError(str(error)) from error
        except ClusterError as error:
            raise ServerUnavailableError(f"cannot check with the API server: {error}") from error
        return faults, warnings

    return check
