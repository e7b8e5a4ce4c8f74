"""Metadata helpers of the controllers."""

from devcluster.controllers.loop import Key
from devcluster.kinds import Kind
from devcluster.objects import Object, metadata_of


def key_of(obj: Object) -> Key:
    """Return the object's namespace, empty when it has none, and its name."""
    metadata = metadata_of(obj)
    return metadata.get("namespace") or "", metadata["name"]


def uid_of(obj: Object) -> str:
    """Return the object's uid."""
    return str(metadata_of(obj)["uid"])


def owners_of(obj: Object) -> list[Object]:
    """Return the object's ownerReferences."""
    found: list[Object] = metadata_of(obj).get("ownerReferences") or []
    return found


def controller_of(obj: Object) -> Object | None:
    """Return the ownerReference of the object's controller; None when it has none."""
    return next((reference for reference in owners_of(obj) if reference.get("controller")), None)


def controller_reference(kind: Kind, owner: Object) -> Object:
    """Build the ownerReference that makes an object its controller's."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def has_finalizer(obj: Object, finalizer: str) -> bool:
    """Return whether the object has the finalizer."""
    return finalizer in (metadata_of(obj).get("finalizers") or ())


def drop_finalizer(obj: Object, finalizer: str) -> Object:
    """Remove a finalizer from an object, in place."""
    kept = [name for name in obj["metadata"].get("finalizers") or () if name != finalizer]
    return _put(obj, "finalizers", kept)


def drop_owners(obj: Object, uids: set[str]) -> Object:
    """Remove the ownerReferences with these uids from an object, in place."""
    return _put(obj, "ownerReferences", [reference for reference in owners_of(obj) if reference["uid"] not in uids])


def _put(obj: Object, field: str, value: list[object]) -> Object:
    obj["metadata"].pop(field, None)
    if value:
        obj["metadata"][field] = value
    return obj
