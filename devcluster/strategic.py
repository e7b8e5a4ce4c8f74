"""Strategic merge patch: Kubernetes' own format, in which some lists merge by a key of their items.

The keys are those of the `patchMergeKey` tags of `k8s.io/api`; see
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md.
A list that is not named here is replaced, as in a JSON merge patch.
"""

from typing import Any

from devcluster.errors import unclassified
from devcluster.kinds import SERVICE, Kind
from devcluster.objects import clone

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "secrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "hostAliases": "ip",
    "podIPs": "ip",
    "hostIPs": "ip",
    "ownerReferences": "uid",
    "conditions": "type",
    "addresses": "type",
    "taints": "key",
    "topologySpreadConstraints": "topologyKey",
}
_MERGED_SETS = frozenset({"finalizers"})  # lists of plain values
_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def apply_strategic_patch(kind: Kind, document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return an object merged with a patch; neither argument is changed.

    Raises:
        ApiError: 500, as in the API server: an item of a merged list lacks its key, or a directive is unknown.
    """
    return _merge_objects(kind, document, patch)


def _merge_objects(kind: Kind, document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive == "replace":
        return {key: clone(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise unclassified(f"unknown patch type: {directive} in map: {patch}")
    merged = dict(document)
    if _RETAIN in patch:
        merged = {key: value for key, value in merged.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            merged[name] = [item for item in merged.get(name) or () if item not in value]
        elif not key.startswith("$"):
            _merge_field(kind, merged, key, value)
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and isinstance(merged.get(name), list):
            merged[name] = _ordered(merged[name], order, _merge_key(kind, name))
    return merged


def _merge_field(kind: Kind, merged: dict[str, Any], key: str, value: Any) -> None:
    present = merged.get(key)
    if value is None:
        merged.pop(key, None)
    elif isinstance(value, dict):
        merged[key] = _merge_objects(kind, present if isinstance(present, dict) else {}, value)
    elif isinstance(value, list) and key in _MERGED_SETS:
        merged[key] = list(dict.fromkeys([*(present or ()), *value]))
    elif isinstance(value, list) and (merge_key := _merge_key(kind, key)):
        merged[key] = _merge_lists(kind, present or [], value, merge_key)
    else:
        merged[key] = clone(value)


def _merge_key(kind: Kind, field: str) -> str | None:
    if field == "ports" and kind is SERVICE:
        return "port"
    return _MERGE_KEYS.get(field)


def _merge_lists(kind: Kind, present: list[Any], patch: list[Any], merge_key: str) -> list[Any]:
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [clone(item) for item in patch if _DIRECTIVE not in item]
    merged = list(present)
    for item in patch:
        if not isinstance(item, dict) or merge_key not in item:
            raise unclassified(f"map: {item} does not contain declared merge key: {merge_key}")
        found = next((i for i, old in enumerate(merged) if old.get(merge_key) == item[merge_key]), None)
        if item.get(_DIRECTIVE) == "delete":
            merged = [old for old in merged if old.get(merge_key) != item[merge_key]]
        elif found is None:
            merged.append(_merge_objects(kind, {}, item))
        else:
            merged[found] = _merge_objects(kind, merged[found], item)
    return merged


def _ordered(items: list[Any], order: list[Any], merge_key: str | None) -> list[Any]:
    """Sort the items that `order` names into its order; each other item stays behind its predecessor."""
    keys = [item[merge_key] for item in order] if merge_key else order
    named = {key: item for item in items if (key := item[merge_key] if merge_key else item) in keys}
    result: list[Any] = [named[key] for key in keys if key in named]
    for index, item in enumerate(items):
        if item not in result:
            result.insert(result.index(items[index - 1]) + 1 if index else 0, item)
    return result
