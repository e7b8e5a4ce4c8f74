"""Rules for a container's resources.

See https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ and, for extended resources,
https://kubernetes.io/docs/tasks/configure-pod-container/extended-resource/.
"""

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.validation.fields import check_all, forbidden, invalid, required
from devcluster.validation.names import label_key_errors
from devcluster.validation.quantities import parse_quantity

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES = "hugepages-"
_KUBERNETES = "kubernetes.io/"


def check_resources(resources: Object, path: str) -> list[Cause]:
    """Check the names and amounts of requests and limits, and that no request exceeds its limit."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    causes: list[Cause] = []
    for name, amount in limits.items():
        causes += _check_amount(name, amount, f"{path}.limits[{name}]")
    for name, amount in requests.items():
        causes += _check_amount(name, amount, f"{path}.requests[{name}]")
        causes += _check_request(name, amount, limits.get(name), path)
    names = {*limits, *requests}
    if any(name.startswith(_HUGE_PAGES) for name in names) and not names & {"cpu", "memory"}:
        causes.append(forbidden(path, "HugePages require cpu or memory"))
    return causes


def _check_amount(name: str, amount: str, path: str) -> list[Cause]:
    causes = _check_name(name, path)
    value = parse_quantity(amount)
    if value < 0:
        causes.append(invalid(path, amount, "must be greater than or equal to 0"))
    if not _is_native(name) and value % 1:  # an extended resource: devices are indivisible
        causes.append(invalid(path, amount, "must be an integer"))
    return causes


def _check_name(name: str, path: str) -> list[Cause]:
    causes = check_all(path, name, label_key_errors(name))
    if "/" in name:
        if _KUBERNETES not in name and not _is_extended(name):
            causes.append(invalid(path, name, "doesn't follow extended resource name standard"))
    elif name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        if not causes:
            causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        causes.append(invalid(path, name, "must be a standard resource for containers"))
    return causes


def _is_extended(name: str) -> bool:
    """Return whether a quota could name it as well, with the prefix `requests.`."""
    return not name.startswith("requests.") and not label_key_errors(f"requests.{name}")


def _check_request(name: str, amount: str, limit: str | None, path: str) -> list[Cause]:
    field = f"{path}.requests"
    if limit is None:
        if _can_overcommit(name):
            return []
        return [required(f"{path}.limits", "Limit must be set for non overcommitable resources")]
    requested, allowed = parse_quantity(amount), parse_quantity(limit)
    if requested != allowed and not _can_overcommit(name):
        return [invalid(field, amount, f"must be equal to {name} limit of {limit}")]
    if requested > allowed:
        return [invalid(field, amount, f"must be less than or equal to {name} limit of {limit}")]
    return []


def _is_native(name: str) -> bool:
    return "/" not in name or _KUBERNETES in name


def _can_overcommit(name: str) -> bool:
    return _is_native(name) and not name.startswith(_HUGE_PAGES)
