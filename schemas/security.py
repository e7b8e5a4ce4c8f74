"""The security settings that a definition may choose for the pods of its runs.

The JSON Schema allows only settings within the Pod Security Standard "baseline", so that a namespace which enforces
that standard accepts the runs of every definition.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.faults import Fault, pointer_to


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """The system calls that a container may make.

    Attributes:
        type: `RuntimeDefault`: the container runtime's profile; `Localhost`: a profile on the node.
        localhost_profile: its path below the kubelet's folder of profiles; `None` unless `type` is `Localhost`.
    """

    type: Literal["RuntimeDefault", "Localhost"] = "RuntimeDefault"
    localhost_profile: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """The security settings of a run's pod; `None` leaves the choice to the image or the cluster.

    Attributes:
        run_as_user: the user id, from 0 to 2^31 - 1.
        run_as_group: the id of the primary group.
        run_as_non_root: whether the kubelet refuses to run the container as root.
        fs_group: the group that owns the volumes, and of which the container is a member.
        supplemental_groups: further groups of the container.
        read_only_root_filesystem: whether the root file system is read-only.
        allow_privilege_escalation: whether a program may get more rights than its parent.
        added_capabilities: capabilities in addition to the container runtime's.
        dropped_capabilities: capabilities to remove from the container runtime's; `ALL`: all of them.
        seccomp_profile: the system calls that the container may make.
    """

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool = False
    added_capabilities: tuple[str, ...] = ()
    dropped_capabilities: tuple[str, ...] = ()
    seccomp_profile: SeccompProfile = SeccompProfile()


_PLAIN_FIELDS = {
    "RunAsUser": "run_as_user",
    "RunAsGroup": "run_as_group",
    "RunAsNonRoot": "run_as_non_root",
    "FsGroup": "fs_group",
    "ReadOnlyRootFilesystem": "read_only_root_filesystem",
    "AllowPrivilegeEscalation": "allow_privilege_escalation",
}


def build_security_context(entry: Mapping[str, Any]) -> SecurityContext:
    """Build a security context from an entry that the JSON Schema has accepted; absent fields take their defaults."""
    given: dict[str, Any] = {attribute: entry[key] for key, attribute in _PLAIN_FIELDS.items() if key in entry}
    capabilities = entry.get("Capabilities", {})
    if "SeccompProfile" in entry:
        profile = entry["SeccompProfile"]
        given["seccomp_profile"] = SeccompProfile(profile["Type"], profile.get("LocalhostProfile"))
    return SecurityContext(
        supplemental_groups=tuple(entry.get("SupplementalGroups", ())),
        added_capabilities=tuple(capabilities.get("Add", ())),
        dropped_capabilities=tuple(capabilities.get("Drop", ())),
        **given,
    )


def pod_security(context: SecurityContext) -> dict[str, Any]:
    """Build the `securityContext` of a pod, which also holds for containers that webhooks add.

    A namespace that enforces "restricted" otherwise refuses `kubectl debug` and the sidecars of a service mesh.
    """
    profile = {"type": context.seccomp_profile.type, "localhostProfile": context.seccomp_profile.localhost_profile}
    given = {
        "runAsUser": context.run_as_user,
        "runAsGroup": context.run_as_group,
        "runAsNonRoot": context.run_as_non_root,
        "fsGroup": context.fs_group,
        "supplementalGroups": list(context.supplemental_groups) or None,
        "seccompProfile": _without_none(profile),
    }
    return _without_none(given)


def container_security(context: SecurityContext) -> dict[str, Any]:
    """Build the `securityContext` of a run's container."""
    capabilities = {"add": list(context.added_capabilities), "drop": list(context.dropped_capabilities)}
    given = {
        "allowPrivilegeEscalation": context.allow_privilege_escalation,
        "readOnlyRootFilesystem": context.read_only_root_filesystem,
        "capabilities": {part: names for part, names in capabilities.items() if names} or None,
    }
    return _without_none(given)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def security_faults(path: tuple[str | int, ...], entry: object) -> Iterator[Fault]:
    """Find settings that contradict each other, which a schema cannot express.

    The API server or the kubelet would find most of them, but only when a run is created or started.
    """
    if not isinstance(entry, dict):
        return
    user = entry.get("RunAsUser")
    if entry.get("RunAsNonRoot") is True and type(user) is int and user == 0:  # False equals 0
        yield Fault(pointer_to(*path, "RunAsUser"), "0 is root, which RunAsNonRoot forbids")
    yield from _profile_faults((*path, "SeccompProfile"), entry.get("SeccompProfile"))
    yield from _capability_faults((*path, "Capabilities"), entry.get("Capabilities"))


def _profile_faults(path: tuple[str | int, ...], profile: object) -> Iterator[Fault]:
    if not isinstance(profile, dict):
        return
    pointer = pointer_to(*path, "LocalhostProfile")
    given = "LocalhostProfile" in profile
    if profile.get("Type") == "Localhost" and not given:
        yield Fault(pointer, "required if Type is Localhost, but missing")
    if profile.get("Type") == "RuntimeDefault" and given:
        yield Fault(pointer, "allowed only if Type is Localhost")


def _capability_faults(path: tuple[str | int, ...], capabilities: object) -> Iterator[Fault]:
    """Find capabilities that are both added and dropped: which one wins is up to the container runtime."""
    if not isinstance(capabilities, dict):
        return
    added, dropped = capabilities.get("Add"), capabilities.get("Drop")
    if not isinstance(added, list) or not isinstance(dropped, list):
        return
    for index, name in enumerate(added):
        if name in dropped:
            yield Fault(pointer_to(*path, "Add", index), "is also in Drop")
