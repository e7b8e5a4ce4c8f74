"""Where the API server is, who we are to it, and which namespace is ours: a kubeconfig's word, or the pod's own."""

from pathlib import Path

import yaml
from kubernetes import config
from kubernetes.client import Configuration
from kubernetes.config.config_exception import ConfigException

from app.kube.transport import CALLS, ApiTransport

_POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# What the client raises for a file that is something else than a kubeconfig: it takes the form for granted.
_NO_KUBECONFIG = (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError)


class ClusterSettingsError(Exception):
    """There is no usable way to an API server: neither a kubeconfig nor a pod's own credentials."""


def connect(kubeconfig: str | None, namespace: str | None, *, streams: int = 0) -> ApiTransport:
    """Find the API server and the namespace.

    Args:
        kubeconfig: path (or paths, as `KUBECONFIG` has them) of a kubeconfig; `None`: the pod's own credentials.
        namespace: `None`: the pod's own, else the kubeconfig context's, else `default`.
        streams: how many there may be beside the calls.

    Raises:
        ClusterSettingsError: there are no usable credentials.
    """
    configuration = Configuration()
    try:
        if kubeconfig:
            config.load_kube_config(  # type: ignore[no-untyped-call] # the client has no annotations here
                config_file=kubeconfig, client_configuration=configuration
            )
        else:
            config.load_incluster_config(  # type: ignore[no-untyped-call] # the client has no annotations here
                client_configuration=configuration
            )
        namespace = namespace or _pod_namespace() or _context_namespace(kubeconfig) or "default"
    except _NO_KUBECONFIG as error:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "this pod (KUBECONFIG isn't set)"
        # Only the client's own words: those of others may quote the file, and so a token.
        why = error if isinstance(error, ConfigException) else type(error).__name__
        raise ClusterSettingsError(f"no way to an API server in {where}: {why}") from error
    return ApiTransport(configuration, namespace, connections=CALLS + streams)


def _pod_namespace() -> str | None:
    try:
        return _POD_NAMESPACE_FILE.read_text("utf-8").strip() or None
    except OSError:
        return None


def _context_namespace(kubeconfig: str | None) -> str | None:
    if not kubeconfig:
        return None
    _, active = config.list_kube_config_contexts(  # type: ignore[no-untyped-call] # the client has no annotations here
        config_file=kubeconfig
    )
    namespace: str | None = active["context"].get("namespace")
    return namespace
