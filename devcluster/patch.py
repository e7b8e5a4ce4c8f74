"""The three patch formats of the Kubernetes API: functions that apply a patch to a document.

See https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/, RFC 7386 (JSON merge
patch) and RFC 6902 (JSON patch). No function changes its arguments.
"""

from collections.abc import Sequence
from typing import Any

from devcluster.errors import bad_request, entity_too_large, unprocessable
from devcluster.objects import clone

_MAX_OPERATIONS = 10_000


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """Apply an RFC 7386 merge patch: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_merge_patch(merged.get(key), value)
    return merged


def apply_json_patch(document: Any, operations: Any) -> Any:
    """Apply an RFC 6902 JSON patch; all of its operations succeed, or none is applied.

    Raises:
        ApiError: 400 not a JSON patch, 413 too many operations, 422 it cannot be applied (a test failed, no such path).
    """
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        message = "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: {message}")
    if len(operations) > _MAX_OPERATIONS:
        raise entity_too_large(_MAX_OPERATIONS)
    box = [clone(document)]  # boxed, so that the whole document ("") can be replaced like any member
    for operation in operations:
        try:
            _apply_operation(box, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise unprocessable() from error
    return box[0]


def _apply_operation(box: list[Any], operation: dict[str, Any]) -> None:
    path = _parse_pointer(operation["path"])
    match operation["op"]:
        case "add":
            _add(box, path, clone(operation["value"]))
        case "remove":
            _remove(box, path)
        case "replace":
            _resolve(box, path)
            _set(box, path, clone(operation["value"]))
        case "move":
            source = _parse_pointer(operation["from"])
            if path[: len(source)] == source and path != source:
                raise ValueError("a value cannot be moved into one of its children")
            moved = _resolve(box, source)
            _remove(box, source)
            _add(box, path, moved)
        case "copy":
            _add(box, path, clone(_resolve(box, _parse_pointer(operation["from"]))))
        case "test":
            if not _same(_resolve(box, path), operation["value"]):
                raise ValueError("test failed")
        case other:
            raise ValueError(f"unknown operation {other!r}")


def _same(left: Any, right: Any) -> bool:
    """Return whether two values are equal as JSON; in Python, True equals 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _parse_pointer(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise ValueError(f"a JSON pointer must start with a slash: {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _index(part: str, length: int) -> int:
    if not (part.isascii() and part.isdigit()) or (part != "0" and part.startswith("0")) or int(part) >= length:
        raise IndexError(part)
    return int(part)


def _resolve(box: list[Any], path: Sequence[str]) -> Any:
    found = box[0]
    for part in path:
        found = found[_index(part, len(found))] if isinstance(found, list) else _member(found, part)
    return found


def _member(found: Any, part: str) -> Any:
    if not isinstance(found, dict):
        raise KeyError(part)
    return found[part]


def _add(box: list[Any], path: Sequence[str], value: Any) -> None:
    parent = _resolve(box, path[:-1]) if path else None
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(path[-1], len(parent) + 1), value)
    else:
        _set(box, path, value)


def _set(box: list[Any], path: Sequence[str], value: Any) -> None:
    if not path:
        box[0] = value
        return
    parent = _resolve(box, path[:-1])
    if isinstance(parent, list):
        parent[_index(path[-1], len(parent))] = value
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise KeyError(path[-1])


def _remove(box: list[Any], path: Sequence[str]) -> None:
    if not path:
        raise ValueError("the whole document cannot be removed")
    parent = _resolve(box, path[:-1])
    if isinstance(parent, list):
        del parent[_index(path[-1], len(parent))]
    else:
        _member(parent, path[-1])
        del parent[path[-1]]
