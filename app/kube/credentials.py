"""Finds the API server, the credentials and the namespace: from a kubeconfig, or from the pod's own files."""

from pathlib import Path

import yaml
from kubernetes import config
from kubernetes.client import Configuration
from kubernetes.config.config_exception import ConfigException

from app.kube.transport import CALLS, ApiTransport

_POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# The client does not validate the form of a kubeconfig; these are the errors of a file that is something else.
_NO_KUBECONFIG = (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError)


class ClusterSettingsError(Exception):
    """There are no usable credentials for an API server: neither a kubeconfig's nor the pod's own."""


def connect(kubeconfig: str | None, namespace: str | None, *, streams: int = 0) -> ApiTransport:
    """Return the transport to the API server; connects when it is first called.

    Args:
        kubeconfig: path (or paths, as `KUBECONFIG` has them) of a kubeconfig; `None`: the pod's own credentials.
        namespace: `None`: the pod's own, else the kubeconfig context's, else `default`.
        streams: how many streams may be open besides the calls.

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
        # Only the client's own words: other messages may quote the file, and with it a token.
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
