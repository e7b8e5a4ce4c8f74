"""The Node object, which `kubectl get nodes` shows."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from devcluster.http.discovery import GIT_VERSION
from devcluster.kinds import NODE
from devcluster.objects import Object, to_time

NAME = "devcluster"
IP = "127.0.0.1"


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MAX_PODS = 1000


def resources() -> dict[str, str]:
    """Return the machine's capacity by resource name; the node does not limit pods to it."""
    memory_kib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory_kib}Ki", "pods": str(_MAX_PODS)}


def describe_node() -> tuple[Object, Object]:
    """Return the Node without its status, and the status."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    system = platform.system().lower()
    labels = {"kubernetes.io/hostname": NAME, "kubernetes.io/arch": architecture, "kubernetes.io/os": system}
    node = {"apiVersion": NODE.api_version, "kind": NODE.kind, "metadata": {"name": NAME, "labels": labels}, "spec": {}}
    moment = to_time(datetime.now(UTC))
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
    }
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    info = {
        "machineID": "",
        "systemUUID": "",
        "bootID": boot_id.read_text(encoding="ascii").strip() if boot_id.exists() else "",
        "kernelVersion": platform.release(),
        "osImage": platform.platform(terse=True),
        "containerRuntimeVersion": "devcluster://1",
        "kubeletVersion": GIT_VERSION,
        "kubeProxyVersion": GIT_VERSION,
        "operatingSystem": system,
        "architecture": architecture,
    }
    addresses = [{"type": "InternalIP", "address": IP}, {"type": "Hostname", "address": NAME}]
    status = {"capacity": resources(), "allocatable": resources(), "conditions": [ready], "addresses": addresses,
              "nodeInfo": info}  # fmt: skip
    return node, status
