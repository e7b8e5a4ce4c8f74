"""`slimfaas-jobs validate --server`: what an API server says of definitions, over the same client as the service's."""

from functools import cache

from app.cli.validate import Ask, CanNotAsk
from app.definitions.preflight import check_definition
from app.kube.client import NamespacedClient
from app.kube.credentials import ClusterSettingsError, connect
from app.kube.errors import ClusterError
from app.settings import SettingsError, read_cluster_settings
from schemas.configuration import Definitions
from schemas.faults import Fault


def ask_servers(namespace: str | None) -> Ask:
    """Make what asks the API server of the environment; it connects when first asked.

    Args:
        namespace: where to ask; `None`: where the environment says, else the ConfigMap's own namespace.

    Raises:
        SettingsError: that can be no namespace.
    """
    kubeconfig, set_name = read_cluster_settings(namespace)

    @cache
    def namespace_called(name: str | None) -> NamespacedClient:
        return NamespacedClient(connect(kubeconfig, name))

    def ask(definitions: Definitions, own_namespace: str | None) -> tuple[list[Fault], list[Fault]]:
        faults: list[Fault] = []
        warnings: list[Fault] = []
        try:
            read_cluster_settings(own_namespace)  # it becomes part of an address
        except SettingsError:
            return [Fault("", "the ConfigMap's namespace is not the name of one (a DNS label)")], []
        try:
            where = namespace_called(set_name or own_namespace)
            for definition in definitions.values():
                checked = check_definition(where, definition)
                faults += checked.faults
                warnings += checked.warnings
        except ClusterSettingsError as error:
            raise CanNotAsk(str(error)) from error
        except ClusterError as error:
            raise CanNotAsk(f"the API server couldn't be asked: {error}") from error
        return faults, warnings

    return ask
