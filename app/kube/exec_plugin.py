"""Credentials from a credential plugin: a program that the kubeconfig names.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from app.kube.authentication import Answer, Credential, CredentialError, bearer
from app.kube.tls import TlsMaterial

_PLUGIN_SECONDS = 60.0
"""How long the program may take before it is killed."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials.

    Attributes:
        command: the program with its arguments.
        environment: variables for the program, in addition to those of this process.
        api_version: the API version of the program's input and output.
        cluster: the description of the cluster for the program; `None`: the program gets none.
        tls: the certificates in the kubeconfig.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    api_version: str
    cluster: Mapping[str, Any] | None
    tls: TlsMaterial

    def ask(self) -> Answer:
        """Run the program.

        Raises:
            CredentialError: the program fails, takes longer than a minute, or prints no valid credential.
        """
        spec = {"interactive": False, **({} if self.cluster is None else {"cluster": self.cluster})}
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        try:
            # The program gets a session of its own, so that its child processes can be killed with it. It writes to
            # this process's stderr, as with kubectl: the reason for a failure appears there.
            with subprocess.Popen(  # noqa: S603 - the kubeconfig names it
                self.command,
                env={**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)},  # noqa: TID251 - it inherits ours
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            ) as process:
                try:
                    output, _ = process.communicate(timeout=_PLUGIN_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise self._error(f"has printed nothing for {_PLUGIN_SECONDS:.0f} s and was killed") from None
        except OSError as error:
            raise self._error(f"cannot be started: {error.strerror}") from error
        if process.returncode:
            raise self._error(f"failed with exit code {process.returncode}")
        return self._read(output)

    def _read(self, output: bytes) -> Answer:
        try:
            answer = json.loads(output)
            if answer["kind"] != "ExecCredential" or answer["apiVersion"] != self.api_version:
                raise self._error(f"must print an ExecCredential of {self.api_version}")
            status = answer["status"]
            token, certificate, key = (
                status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
            )
            expires_at = status.get("expirationTimestamp")
            expires = None if expires_at is None else datetime.fromisoformat(expires_at).timestamp()
            tls = self.tls
            if certificate is not None and key is not None:
                tls = replace(tls, certificate=certificate.encode(), key=key.encode())
            elif token is None or certificate is not None or key is not None:
                raise self._error("prints neither a token nor a certificate with its key")
            authorization = None if token is None else bearer(token, f"the token of {self.command[0]}")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # The error may quote what the program has printed.
            raise self._error(f"prints no valid ExecCredential: {type(error).__name__}") from None
        return Answer(Credential(authorization, tls), expires)

    def _error(self, what: str) -> CredentialError:
        return CredentialError(f"the credential plugin {self.command[0]} {what}")


def read_plugin(user: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path, tls: TlsMaterial) -> ExecPlugin:
    """Read the `exec` of a kubeconfig's user.

    Args:
        user: the `exec` entry.
        cluster: the cluster's entry in the kubeconfig.
        folder: the folder that a relative path of the program starts from.
        tls: the certificates in the kubeconfig.

    Raises:
        CredentialError: the program does not exist, or needs a terminal.
    """
    command = str(user["command"])
    if os.sep in command:
        command = str(folder / command)
    if shutil.which(command) is None:
        hint = user.get("installHint")
        raise CredentialError(f"the credential plugin {command} cannot be found" + (f"; {hint}" if hint else ""))
    if user.get("interactiveMode") == "Always":
        raise CredentialError(f"the credential plugin {command} needs a terminal (interactiveMode: Always)")
    return ExecPlugin(
        command=[command, *map(str, user.get("args") or ())],
        environment={str(item["name"]): str(item["value"]) for item in user.get("env") or ()},
        api_version=str(user["apiVersion"]),
        cluster=_describe(cluster, tls) if user.get("provideClusterInfo") else None,
        tls=tls,
    )


def _describe(cluster: Mapping[str, Any], tls: TlsMaterial) -> dict[str, Any]:
    """Return the description of the cluster for the program: `ExecCredentialSpec.cluster`."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
    told = {name: cluster[name] for name in names if name in cluster}
    if tls.authority is not None:
        told["certificate-authority-data"] = base64.b64encode(tls.authority).decode()
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told
