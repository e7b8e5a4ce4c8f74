"""Reads a kubeconfig, or the files of a pod's ServiceAccount: the API server, the credentials, and impersonation.

The client library refreshes the tokens of `auth-provider`, and the part of it that does so is imported only for that
(docs/adr/0022-memory.md). Its own reading of credentials is not used: it keeps certificates in temporary files, reads a
token's file only once, runs credential plugins without a time limit, and ignores impersonation.
"""

import base64
import binascii
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from app.kube.authentication import (
    Answer,
    Credential,
    CredentialError,
    CredentialSource,
    FileCredential,
    FixedCredential,
    RequestedCredential,
    bearer,
    check_header,
    read_file,
    read_token,
)
from app.kube.client_library import Configuration
from app.kube.exec_plugin import read_plugin
from app.kube.kubeconfig_files import KubeconfigError, read_context
from app.kube.tls import TlsMaterial

_POD_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the files of a pod's ServiceAccount."""

_HOOK_SECONDS = 30.0
"""How long a token of the client library is used before the library is called again. The library refreshes a token
minutes before it expires."""

_NAME_CHARACTERS = "!#$&'*+-.^_`|~"
"""The characters that a header's name may contain besides letters and digits. `%` is missing, because it starts an
escape sequence."""

_PEM = ("certificate-authority", "client-certificate", "client-key")


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach an API server.

    Attributes:
        server: its URL.
        source: the source of credentials.
        tls: the certificates in the kubeconfig or in the pod's files.
        verify: whether to verify the server's certificate.
        server_name: the expected name in the server's certificate; `None`: the host of the URL.
        proxy: the URL of a proxy; `None`: the proxy of the environment, if there is one.
        impersonation: the headers that name the user to impersonate.
        namespace: the namespace of the context; `None`: the context names none.
    """

    server: str
    source: CredentialSource
    tls: TlsMaterial = field(default_factory=TlsMaterial)
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    impersonation: tuple[tuple[str, str], ...] = ()
    namespace: str | None = None


def read_pod_access() -> ClusterAccess:
    """Read the files of this pod's ServiceAccount.

    https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/

    Raises:
        KubeconfigError: this process does not run in a pod.
        CredentialError: a file cannot be read.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")  # noqa: TID251 - no setting
    if not host or not port:
        raise KubeconfigError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    token, authority = _POD_FOLDER / "token", _POD_FOLDER / "ca.crt"
    source = FileCredential(lambda: Credential(read_token(token), TlsMaterial(authority=read_file(authority))))
    return ClusterAccess(f"https://{f'[{host}]' if ':' in host else host}:{port}", source, source.get(0).tls)


def read_kubeconfig(paths: str) -> ClusterAccess:
    """Read the current context of a kubeconfig.

    Args:
        paths: one or more paths, in the form of the variable `KUBECONFIG`.

    Raises:
        KubeconfigError: a file or an entry is missing.
        CredentialError: a file or a program that the kubeconfig names cannot be read or used.
        Exception: a file is not a kubeconfig (AttributeError, KeyError, OSError, TypeError, ValueError, YAMLError).
    """
    context = read_context(paths)
    cluster, folder = context.cluster.values, context.cluster.folder
    user, user_folder = context.user.values, context.user.folder
    if "server" not in cluster:
        raise KubeconfigError("the cluster has no server")

    def read_tls() -> TlsMaterial:
        found = [
            _read_pem(values, name, base)
            for name, values, base in zip(_PEM, (cluster, user, user), (folder, user_folder, user_folder), strict=True)
        ]
        return TlsMaterial(*found)

    tls = read_tls()
    return ClusterAccess(
        server=str(cluster["server"]).rstrip("/"),
        source=_make_source(paths, cluster, user, user_folder, tls, read_tls),
        tls=tls,
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name") or None,
        proxy=cluster.get("proxy-url") or None,
        impersonation=tuple(_read_impersonation(user)),
        namespace=context.namespace,
    )


def _read_pem(values: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    """Return a certificate or a key: from base64 in the kubeconfig, or from the file that the kubeconfig names."""
    if values.get(f"{name}-data"):
        try:
            return base64.b64decode(values[f"{name}-data"], validate=False)
        except binascii.Error as error:
            raise CredentialError(f"{name}-data is not base64") from error
    return read_file(folder / values[name]) if values.get(name) else None


def _make_source(
    paths: str,
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    folder: Path,
    tls: TlsMaterial,
    read_tls: Callable[[], TlsMaterial],
) -> CredentialSource:
    """Return the credentials of a user. If the user has several, the first in kubectl's order is used.

    Args:
        paths: see `read_kubeconfig`.
        cluster: the entry of the cluster.
        user: the entry of the user.
        folder: the folder of the file that has the user; relative paths start there.
        tls: the certificates.
        read_tls: reads the certificates again.
    """
    if user.get("auth-provider"):
        from kubernetes import config  # here, because it takes 10 MiB

        # Only the token is used, and not the certificates that the library writes to temporary files.
        configuration = Configuration()
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call] # the client has no annotations here
                config_file=paths, client_configuration=configuration
            )
        except config.ConfigException as error:  # its message may quote the file
            raise CredentialError("the client library can't use the auth-provider") from error
        if configuration.api_key:
            return RequestedCredential(partial(_ask_client_library, configuration, tls))
    if user.get("tokenFile"):  # before `token`, as in kubectl
        path = folder / user["tokenFile"]
        return FileCredential(lambda: Credential(read_token(path), read_tls()))
    header = None
    if user.get("token"):
        header = bearer(str(user["token"]), "the token")
    elif user.get("exec"):
        return RequestedCredential(read_plugin(user["exec"], cluster, folder, tls).ask)
    elif user.get("username") and "password" in user:
        basic = urllib3.make_headers(basic_auth=f"{user['username']}:{user['password']}")
        header = check_header(basic["authorization"], "the user name with its password")
    if any(values.get(name) for name, values in zip(_PEM, (cluster, user, user), strict=True)):
        return FileCredential(lambda: Credential(header, read_tls()))
    return FixedCredential(Credential(header, tls))


def _ask_client_library(configuration: Configuration, tls: TlsMaterial) -> Answer:
    """Let the client library refresh its token, and return the token."""
    token = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    credential = Credential(None if token is None else check_header(token, "the token of the auth-provider"), tls)
    return Answer(credential, time.time() + _HOOK_SECONDS)


def _read_impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that name the user to impersonate.

    https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
    """
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        # Characters that a header's name must not contain are escaped, as in client-go.
        name = "Impersonate-Extra-" + quote(str(key), safe=_NAME_CHARACTERS)
        headers += [(name, str(value)) for value in values]
    if headers and not user.get("as"):
        raise CredentialError("as-groups, as-uid and as-user-extra have no effect without as")
    return [(name, check_header(value, f"the value of {name}")) for name, value in headers]
