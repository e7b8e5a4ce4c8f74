"""Finds the API server, the credentials and the namespace: from a kubeconfig, or from the pod's own files."""

import ipaddress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
import yaml

from app.kube.api_server import ApiServer, environment_proxy
from app.kube.authentication import CredentialError
from app.kube.kubeconfig import ClusterAccess, read_kubeconfig, read_pod_access
from app.kube.kubeconfig_files import KubeconfigError
from app.kube.tls import CertificateError, make_context
from app.kube.transport import CALLS, ApiTransport

_POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# The form of a kubeconfig is not validated; these are the errors of a file that is something else.
_NO_KUBECONFIG = (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError)


class ClusterSettingsError(Exception):
    """There are no usable credentials for an API server: neither a kubeconfig's nor the pod's own."""


def connect(kubeconfig: str | None, namespace: str | None, *, streams: int = 0) -> ApiTransport:
    """Return the transport to the API server; connects when it is first called.

    Args:
        kubeconfig: path (or paths, as `KUBECONFIG` has them) of a kubeconfig; `None`: the pod's own credentials.
        namespace: `None`: the pod's own, else the kubeconfig context's, else `default`.
        streams: how many streams may be open besides the calls.

    Raises:
        ClusterSettingsError: there are no usable credentials. Its message is one line.
    """
    try:
        access = read_kubeconfig(kubeconfig) if kubeconfig else read_pod_access()
        if access.tls.is_given:
            make_context(access.tls, verify=access.verify)  # so that the start fails, and not each call
        server = _locate(access)
        namespace = namespace or _pod_namespace() or access.namespace or "default"
        return ApiTransport(
            server,
            namespace,
            connections=CALLS + streams,
            source=access.source,
            impersonation=access.impersonation,
        )
    except (KubeconfigError, CredentialError, CertificateError, ClusterSettingsError) as error:
        why = " ".join(str(error).split())
        raise ClusterSettingsError(f"cannot connect to an API server with {_describe(kubeconfig)}: {why}") from error
    except (*_NO_KUBECONFIG, urllib3.exceptions.HTTPError) as error:
        # Only our words: other messages may quote the file, and with it a token.
        why = type(error).__name__
        raise ClusterSettingsError(f"cannot connect to an API server with {_describe(kubeconfig)}: {why}") from error


def _describe(kubeconfig: str | None) -> str:
    return f"the kubeconfig {kubeconfig}" if kubeconfig else "this pod (KUBECONFIG isn't set)"


def _locate(access: ClusterAccess) -> ApiServer:
    """Return the API server and the proxy before it.

    Raises:
        ClusterSettingsError: the proxy cannot be used.
    """
    url = urlsplit(access.server)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ClusterSettingsError("the server's URL must begin with http:// or https://")
    proxy = access.proxy
    if proxy is None and not is_loopback(url.hostname):  # a proxy of the environment is on another machine
        proxy = environment_proxy(access.server)
    return ApiServer(
        access.server,
        verify=access.verify,
        server_name=access.server_name,
        proxy=None if proxy is None else _check_proxy(proxy),
    )


def _check_proxy(proxy: str) -> str:
    """Return a proxy's URL as urllib3 needs it.

    Raises:
        ClusterSettingsError: it cannot be used. The message does not contain it: it may have a password.
    """
    scheme = urlsplit(proxy).scheme.lower()
    if scheme not in ("http", "https", "socks5", "socks5h"):
        raise ClusterSettingsError("the proxy's URL must begin with http://, https:// or socks5://")
    if scheme.startswith("socks"):
        if find_spec("socks") is None:
            raise ClusterSettingsError("a SOCKS proxy needs the extra: pip install 'slimfaas-jobs[socks]'")
        return "socks5h" + proxy[len(scheme) :]  # the proxy looks names up, as with kubectl
    return proxy


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _pod_namespace() -> str | None:
    try:
        return _POD_NAMESPACE_FILE.read_text("utf-8").strip() or None
    except OSError:
        return None
