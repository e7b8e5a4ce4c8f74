"""How the pod of a run is confined: what a definition may choose.

All of it lies within the Pod Security Standard "baseline" (the JSON Schema admits nothing else), so that a namespace
which enforces that standard takes the runs of every definition.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.faults import Fault, pointer_to


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """Which system calls the container may make.

    Attributes:
        type: `RuntimeDefault` is the container runtime's own profile, `Localhost` one that lies on the node.
        localhost_profile: its path below the kubelet's folder of profiles; `None` unless `type` is `Localhost`.
    """

    type: Literal["RuntimeDefault", "Localhost"] = "RuntimeDefault"
    localhost_profile: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """What the container of a run may do on its node; `None` leaves the choice to the image or the cluster.

    Attributes:
        run_as_user: the user's number, from 0 to 2^31 - 1.
        run_as_group: the primary group's number.
        run_as_non_root: whether the kubelet is to refuse to run it as root.
        fs_group: the group that volumes belong to, and that the container is a member of.
        supplemental_groups: further groups of the container.
        read_only_root_filesystem: whether the image's files can't be written.
        allow_privilege_escalation: whether a program may get more rights than the one that started it.
        added_capabilities: beyond those that the container runtime gives.
        dropped_capabilities: of those that the container runtime gives; `ALL`: every one.
        seccomp_profile: which system calls it may make.
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


def security_faults(path: tuple[str | int, ...], entry: object) -> Iterator[Fault]:
    """What is wrong with an entry and can't be said by a schema: parts of it that contradict each other.

    The API server or the kubelet would find most of it, but only once a run is made or started.
    """
    if not isinstance(entry, dict):
        return
    user = entry.get("RunAsUser")
    if entry.get("RunAsNonRoot") is True and type(user) is int and user == 0:  # False is an int, too, and equals 0
        yield Fault(pointer_to(*path, "RunAsUser"), "0 is root, which RunAsNonRoot rules out")
    yield from _profile_faults((*path, "SeccompProfile"), entry.get("SeccompProfile"))
    yield from _capability_faults((*path, "Capabilities"), entry.get("Capabilities"))


def _profile_faults(path: tuple[str | int, ...], profile: object) -> Iterator[Fault]:
    if not isinstance(profile, dict):
        return
    pointer = pointer_to(*path, "LocalhostProfile")
    given = "LocalhostProfile" in profile
    if profile.get("Type") == "Localhost" and not given:
        yield Fault(pointer, "required where Type is Localhost, but missing")
    if profile.get("Type") == "RuntimeDefault" and given:
        yield Fault(pointer, "allowed only where Type is Localhost")


def _capability_faults(path: tuple[str | int, ...], capabilities: object) -> Iterator[Fault]:
    """A capability that is both added and dropped: which of the two wins is left to the container runtime."""
    if not isinstance(capabilities, dict):
        return
    added, dropped = capabilities.get("Add"), capabilities.get("Drop")
    if not isinstance(added, list) or not isinstance(dropped, list):
        return
    for index, name in enumerate(added):
        if name in dropped:
            yield Fault(pointer_to(*path, "Add", index), "in Drop, too")
