"""What a template opens beyond the Pod Security Standard "baseline".

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline
"""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.faults import Fault, pointer_to
from schemas.template import POD, Template, walk_containers
from schemas.template_rules import MANAGER, REPLACED_LABEL

_Path = tuple[str | int, ...]

_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_PROFILES = frozenset({"RuntimeDefault", "Localhost"})

_BEYOND = 'beyond the Pod Security Standard "baseline", which a namespace may enforce'


def find_template_warnings(name: str, template: Template) -> Iterator[Fault]:
    """Yield each setting of a template that "baseline" forbids or that runs have otherwise, and a token.

    The token is one that no definition asks for by name.

    Args:
        name: of the definition, as the configuration writes it.
        template: of the definition.
    """
    inside = ("Configurations", name, "JobTemplate")
    yield from _label_warnings(inside, template.job)
    yield from _label_warnings((*inside, *POD[:-1]), template.job["spec"]["template"])
    place, pod = (*inside, *POD), template.pod
    for key, what in (
        ("hostNetwork", "uses the network of the node"),
        ("hostPID", "sees the processes of the node"),
        ("hostIPC", "shares memory with the processes of the node"),
    ):
        if pod.get(key):
            yield _warning((*place, key), what)
    for index, volume in enumerate(pod.get("volumes") or ()):
        if "hostPath" in volume:
            yield _warning((*place, "volumes", index, "hostPath"), "mounts a folder of the node")
    yield from _context_warnings((*place, "securityContext"), pod.get("securityContext"))
    for index, sysctl in enumerate(_list_in(pod.get("securityContext"), "sysctls")):
        if _get(sysctl, "name") not in _SYSCTLS:
            yield _warning((*place, "securityContext", "sysctls", index), "sets a parameter of the node's kernel")
    for steps, container in walk_containers(pod):
        yield from _container_warnings((*place, *steps), container)
    if pod.get("automountServiceAccountToken") and "serviceAccountName" not in pod:
        yield Fault(
            pointer_to(*place, "automountServiceAccountToken"),
            "mounts the token of the namespace's default ServiceAccount, and so gives its rights to every run",
        )


def _label_warnings(path: _Path, holder: Mapping[str, Any]) -> Iterator[Fault]:
    labels = _get(holder.get("metadata"), "labels") or {}
    if labels.get(REPLACED_LABEL, MANAGER) != MANAGER:
        where = pointer_to(*path, "metadata", "labels", REPLACED_LABEL)
        yield Fault(where, f"runs have the value {MANAGER} instead, because the service manages them")


def _container_warnings(path: _Path, container: Mapping[str, Any]) -> Iterator[Fault]:
    context = container.get("securityContext")
    yield from _context_warnings((*path, "securityContext"), context)
    if _get(context, "privileged"):
        yield _warning((*path, "securityContext", "privileged"), "has all rights of the node's root")
    if _get(context, "procMount") not in (None, "Default"):
        yield _warning((*path, "securityContext", "procMount"), "sees what /proc hides from containers")
    for index, name in enumerate(_list_in(_get(context, "capabilities"), "add")):
        if str(name).removeprefix("CAP_") not in _CAPABILITIES:
            yield _warning((*path, "securityContext", "capabilities", "add", index), f"adds the capability {name}")
    for index, port in enumerate(_list_in(container, "ports")):
        if _get(port, "hostPort"):
            yield _warning((*path, "ports", index, "hostPort"), "takes a port of the node")
    for holder in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
        for steps, handler in _handlers(container.get(holder)):
            if _get(handler, "host"):
                yield _warning((*path, holder, *steps, "host"), "has the node send requests to another host")


def _handlers(holder: object) -> Iterator[tuple[_Path, object]]:
    """Yield the network handlers of a probe or of a lifecycle, with their paths."""
    for key in ("httpGet", "tcpSocket"):
        yield (key,), _get(holder, key)
        for hook in ("postStart", "preStop"):
            yield (hook, key), _get(_get(holder, hook), key)


def _context_warnings(path: _Path, context: object) -> Iterator[Fault]:
    """Yield what a pod's or a container's security context opens."""
    if _get(_get(context, "seccompProfile"), "type") == "Unconfined":
        yield _warning((*path, "seccompProfile"), "may make every system call")
    if _get(_get(context, "appArmorProfile"), "type") not in (None, *_PROFILES):
        yield _warning((*path, "appArmorProfile"), "is not confined by AppArmor")
    selinux = _get(context, "seLinuxOptions")
    if (_get(selinux, "type") or "") not in _SELINUX_TYPES or _get(selinux, "user") or _get(selinux, "role"):
        yield _warning((*path, "seLinuxOptions"), "chooses an SELinux user, role or type")
    if _get(_get(context, "windowsOptions"), "hostProcess"):
        yield _warning((*path, "windowsOptions", "hostProcess"), "runs as a process of the node")


def _warning(path: _Path, what: str) -> Fault:
    return Fault(pointer_to(*path), f"{what}: {_BEYOND}")


def _get(value: object, key: str) -> Any:
    """Return a field; `None`: there is none, also because the value is no object, which the API server reports."""
    return value.get(key) if isinstance(value, dict) else None


def _list_in(value: object, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []
