"""Rules for the security contexts of pods and containers.

Follows `ValidateSecurityContext` and `validatePodSpecSecurityContext` of `k8s.io/kubernetes/pkg/apis/core/validation`.
The node does not isolate containers, but the API refuses what a real cluster would refuse. Privileged containers are
refused, as by kube-apiserver's default.
"""

import re
from collections.abc import Sequence

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.validation.fields import duplicate, forbidden, invalid, not_supported, required

_ID_MAX = 2**31 - 1
_ID_RULE = f"must be between 0 and {_ID_MAX}, inclusive"
_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_PROC_MOUNTS = ("Default", "Unmasked")
_FS_GROUP_CHANGES = ("OnRootMismatch", "Always")
_SUPPLEMENTAL_GROUPS = ("Merge", "Strict")
_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")
_SYSCTL_MAX = 253
_APP_ARMOR_MAX = 4095


def check_pod_security(spec: Object, path: str) -> list[Cause]:
    """Check a pod's security context, and the namespaces that it shares with its node."""
    context, place = spec.get("securityContext") or {}, f"{path}.securityContext"
    causes = _check_ids(context, ("runAsUser", "runAsGroup", "fsGroup"), place)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        causes += _check_id(group, f"{place}.supplementalGroups[{index}]")
    for field, supported in (
        ("fsGroupChangePolicy", _FS_GROUP_CHANGES),
        ("supplementalGroupsPolicy", _SUPPLEMENTAL_GROUPS),
    ):
        if field in context and context[field] not in supported:
            causes.append(not_supported(f"{place}.{field}", context[field], supported))
    causes += _check_profiles(context, place)
    causes += _check_sysctls(context.get("sysctls") or (), f"{place}.sysctls")
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    if spec.get("hostUsers") is False:
        detail = "when `hostUsers` is false"
        shared = ("hostNetwork", "hostPID", "hostIPC")
        causes += [forbidden(f"{path}.{field}", detail) for field in shared if spec.get(field)]
    return causes


def check_container_security(context: Object, path: str, *, own_users: bool) -> list[Cause]:
    """Check a container's security context; `own_users`: its pod has `hostUsers: false`."""
    causes = []
    if context.get("privileged"):
        causes.append(forbidden(f"{path}.privileged", "disallowed by cluster policy"))
    causes += _check_ids(context, ("runAsUser", "runAsGroup"), path)
    mount = context.get("procMount")
    if mount is not None and mount not in _PROC_MOUNTS:
        causes.append(not_supported(f"{path}.procMount", mount, _PROC_MOUNTS))
    elif mount == "Unmasked" and not own_users:
        causes.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    causes += _check_profiles(context, path)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(path, context, detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(path, context, detail))
    return causes


def _check_ids(context: Object, fields: Sequence[str], path: str) -> list[Cause]:
    return [cause for field in fields if field in context for cause in _check_id(context[field], f"{path}.{field}")]


def _check_id(number: int, path: str) -> list[Cause]:
    return [] if 0 <= number <= _ID_MAX else [invalid(path, number, _ID_RULE)]


def _check_profiles(context: Object, path: str) -> list[Cause]:
    causes = []
    if "seccompProfile" in context:
        causes += _check_seccomp(context["seccompProfile"], f"{path}.seccompProfile")
    if "appArmorProfile" in context:
        causes += _check_app_armor(context["appArmorProfile"], f"{path}.appArmorProfile")
    return causes


def _check_seccomp(profile: Object, path: str) -> list[Cause]:
    type_, name, place = profile.get("type"), profile.get("localhostProfile"), f"{path}.localhostProfile"
    causes: list[Cause] = []
    if type_ == "Localhost":
        if name is None:
            causes.append(required(place, "must be set when seccomp type is Localhost "))
        elif name.startswith("/"):
            causes.append(invalid(place, name, "must be a relative path"))
        elif ".." in name.split("/"):
            causes.append(invalid(place, name, "must not contain '..'"))
    elif name is not None:
        causes.append(invalid(place, name, "can only be set when seccomp type is Localhost"))
    return [*causes, *_check_profile_type(type_, path)]


def _check_app_armor(profile: Object, path: str) -> list[Cause]:
    type_, name, place = profile.get("type"), profile.get("localhostProfile"), f"{path}.localhostProfile"
    causes: list[Cause] = []
    if type_ == "Localhost":
        if name is None or not name.strip():
            causes.append(required(place, "must be set when AppArmor type is Localhost"))
        elif name != name.strip():
            causes.append(invalid(place, name, "must not be padded with whitespace"))
        elif len(name) > _APP_ARMOR_MAX:
            causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_APP_ARMOR_MAX} bytes", place))
    elif name is not None:
        causes.append(invalid(place, name, "can only be set when AppArmor type is Localhost"))
    return [*causes, *_check_profile_type(type_, path)]


def _check_profile_type(type_: str | None, path: str) -> list[Cause]:
    if not type_:
        return [required(f"{path}.type", "type is required when the profile is set")]
    return [] if type_ in _SECCOMP_TYPES else [not_supported(f"{path}.type", type_, _SECCOMP_TYPES)]


def _check_sysctls(sysctls: Sequence[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, place = sysctl.get("name", ""), f"{path}[{index}].name"
        if not name:
            causes.append(required(place))
        elif len(name) > _SYSCTL_MAX or not _SYSCTL.fullmatch(name):
            causes.append(invalid(place, name, f"must have at most {_SYSCTL_MAX} characters and match a sysctl's name"))
        elif name in names:
            causes.append(duplicate(place, name))
        names.add(name)
    return causes
