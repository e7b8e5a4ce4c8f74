"""The configuration of the control plane's programs: arguments and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.controlplane.node import LOG_LINE, NODE_NAME, kwok_configuration

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    # Ignore the control plane's own requests, which are the most frequent.
    "rules": [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "userGroups": ["system:testplane"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Settings:
    """The folder and ports of one control plane, and the configuration that follows from them.

    Attributes:
        keeps_history: etcd keeps every revision of every object, as JSON; otherwise the API server compacts it every
            few minutes, and stores Protobuf.
        authentication: the API server's AuthenticationConfiguration
            (https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/); `None`: it has none.
    """

    folder: Path
    api_port: int
    etcd_port: int
    kubelet_port: int
    keeps_history: bool = False
    authentication: Mapping[str, Any] | None = None

    @property
    def etcd_url(self) -> str:
        """Etcd's client URL."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def etcd_folder(self) -> Path:
        """The folder with etcd's data."""
        return self.folder / "etcd"

    @property
    def ca_file(self) -> Path:
        """The API server's certificate, with that of the authority that it creates itself."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log."""
        return self.folder / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The control plane's kubeconfig; written later, because it needs the API server's own authority."""
        return self.folder / "plane.kubeconfig"

    def write_files(self, admin_token: str, plane_token: str) -> None:
        """Write the files that the programs read when they start."""
        self._tokens.touch(mode=0o600)
        self._tokens.write_text(
            f'{admin_token},admin,admin,"system:masters"\n'
            f'{plane_token},testplane,testplane,"system:masters,system:testplane"\n'
        )
        self._audit_policy.write_text(json.dumps(_AUDIT_POLICY))
        if self.authentication is not None:
            self._authentication.write_text(json.dumps(self.authentication))
        self._pod_log.write_text(f"2026-01-01T00:00:00Z stdout F {LOG_LINE}\n")
        self._kwok_configuration.write_text(kwok_configuration(self._pod_log))

    def arguments(self) -> dict[str, list[str]]:
        """Return the arguments of each program by name."""
        return {
            "etcd": self._etcd(),
            "kube-apiserver": self._api_server(),
            "kube-controller-manager": self._controller_manager(),
            "kube-scheduler": self._kubernetes_client(),
            "kwok": self._kwok(),
        }

    @property
    def _tokens(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def _authentication(self) -> Path:
        return self.folder / "authentication.json"

    @property
    def _audit_policy(self) -> Path:
        return self.folder / "audit-policy.json"

    @property
    def _kwok_configuration(self) -> Path:
        return self.folder / "kwok.yaml"

    @property
    def _pod_log(self) -> Path:
        return self.folder / "pod.log"

    @property
    def _key(self) -> Path:
        # The API server creates the key of its own certificate before it reads any key. That key can also sign tokens,
        # so no other tool is needed.
        return self.folder / "certificates" / "apiserver.key"

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.etcd_folder}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        return [
            f"--etcd-servers={self.etcd_url}",
            f"--secure-port={self.api_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # a loopback address cannot be an endpoint
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--cert-dir={self._key.parent}",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--token-auth-file={self._tokens}",
            "--authorization-mode=Node,RBAC",
            f"--audit-policy-file={self._audit_policy}",
            f"--audit-log-path={self.audit_log}",
            "--shutdown-watch-termination-grace-period=1s",  # otherwise stopping waits for its clients to disconnect
            *((f"--authentication-config={self._authentication}",) if self.authentication is not None else ()),
            *(("--etcd-compaction-interval=0", "--storage-media-type=application/json") if self.keeps_history else ()),
        ]

    def _kubernetes_client(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--leader-elect=false",
            "--kube-api-qps=500",  # the default of 20 to 50 would dominate the time of a test with 200 Jobs
            "--kube-api-burst=1000",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            *self._kubernetes_client(),
            f"--root-ca-file={self.ca_file}",
            f"--service-account-private-key-file={self._key}",
            "--concurrent-job-syncs=20",
        ]

    def _kwok(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}",
            f"--config={self._kwok_configuration}",
            f"--manage-single-node={NODE_NAME}",
            "--node-ip=127.0.0.1",
            # It also acts as the kubelet from which the API server reads logs, with the API server's certificate.
            f"--node-port={self.kubelet_port}",
            f"--server-address=127.0.0.1:{self.kubelet_port}",
            f"--tls-cert-file={self.ca_file}",
            f"--tls-private-key-file={self._key}",
            "--node-lease-duration-seconds=40",
            "--cidr=10.244.0.0/16",
        ]
