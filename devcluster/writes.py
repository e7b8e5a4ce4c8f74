"""What every write checks before its kind's own rules come in: namespaces, uids and resourceVersions. Pure."""

import uuid

from devcluster import errors
from devcluster.kinds import NAMESPACE, Kind
from devcluster.objects import Object, clone, now, version_of
from devcluster.validation.names import dns_label_faults


def begin_object(kind: Kind, obj: Object) -> Object:
    """Make a new object of what a client sent: what only the server sets is set, or taken out.

    Raises:
        ApiError: 404 there can be no such namespace, 500 it has a resourceVersion already.
    """
    prepared = {"apiVersion": kind.api_version, "kind": kind.kind, **clone(obj)}
    metadata = prepared.setdefault("metadata", {})
    if kind.namespaced and dns_label_faults(metadata.setdefault("namespace", "default")):
        raise errors.not_found(NAMESPACE, metadata["namespace"])
    version = metadata.get("resourceVersion") or "0"
    if version.isdigit() and int(version):  # what isn't a number is dropped instead
        raise errors.unclassified("resourceVersion should not be set on objects to be created")
    for leftover in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
        metadata.pop(leftover, None)
    metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now())
    return prepared


def check_versions(kind: Kind, name: str, old: Object, new: Object, resource_version: str | None) -> None:
    """Check that a new state was made from the stored one, and give it the stored one's uid and resourceVersion.

    Args:
        kind: The object's kind.
        name: Its name.
        old: The stored state.
        new: The new one; a resourceVersion in it must be the stored one.
        resource_version: That of the state that the writer relies on; None for none.

    Raises:
        ApiError: 409 it was modified since, 422 this kind needs a version, 500 it is no number.
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
