"""The checks of every write before the rules of its kind: namespaces, uids and resourceVersions. Pure functions."""

import uuid

from devcluster import errors
from devcluster.kinds import NAMESPACE, Kind
from devcluster.objects import Object, clone, now, version_of
from devcluster.validation.names import dns_label_errors


def begin_object(kind: Kind, obj: Object) -> Object:
    """Make a new object from a client's: set, or remove, the fields that only the server sets.

    Raises:
        ApiError: 404 the namespace's name is invalid, 500 the object has a resourceVersion already.
    """
    prepared = {"apiVersion": kind.api_version, "kind": kind.kind, **clone(obj)}
    metadata = prepared.setdefault("metadata", {})
    if kind.namespaced and dns_label_errors(metadata.setdefault("namespace", "default")):
        raise errors.not_found(NAMESPACE, metadata["namespace"])
    version = metadata.get("resourceVersion") or "0"
    if version.isdigit() and int(version):  # a value that is not a number is dropped instead
        raise errors.unclassified("resourceVersion should not be set on objects to be created")
    for leftover in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
        metadata.pop(leftover, None)
    metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now())
    return prepared


def check_versions(kind: Kind, name: str, old: Object, new: Object, resource_version: str | None) -> None:
    """Check that a new state is based on the stored one, and give it the stored uid and resourceVersion.

    Args:
        kind: The object's kind.
        name: Its name.
        old: The stored state.
        new: The new state; a resourceVersion in it must be the stored one.
        resource_version: The resourceVersion that the writer requires; None for any.

    Raises:
        ApiError: 409 it was modified since, 422 this kind requires a version, 500 the version is not a number.
    """
    metadata = new.setdefault("metadata", {})
    if not metadata.get("uid"):
        metadata["uid"] = old["metadata"]["uid"]
    given = str(metadata.get("resourceVersion") or "0")
    if not (given.isascii() and given.isdigit()):
        raise errors.unclassified(f'strconv.ParseUint: parsing "{given}": invalid syntax')
    asked = int(given)
    if not asked and not kind.unconditional_update and resource_version is None:
        raise errors.version_required(kind, name)
    current = version_of(old)
    if (asked and asked != current) or (resource_version is not None and int(resource_version) != current):
        raise errors.conflict(kind, name)
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
