"""The garbage collector: it deletes or orphans the dependents of a deleted owner.

See https://kubernetes.io/docs/concepts/architecture/garbage-collection/: in the background after the owner is gone, in
the foreground before it goes (the finalizer `foregroundDeletion` delays it), or orphaned (the finalizer `orphan`).
"""

from collections.abc import Callable
from functools import partial

from devcluster.controllers.cache import Cache
from devcluster.controllers.metadata import drop_finalizer, drop_owners, has_finalizer, owners_of, uid_of
from devcluster.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Propagation
from devcluster.errors import ApiError
from devcluster.kinds import EVENT, KINDS, Kind, find_kind
from devcluster.objects import Object
from devcluster.store import Store

COLLECTED = tuple(kind for kind in KINDS if kind is not EVENT)  # Events expire instead


class GarbageCollector:
    """Reacts to each change of an object that has owners or dependents."""

    def __init__(self, cache: Cache, store: Store) -> None:
        self._cache = cache
        self._store = store
        for kind in COLLECTED:
            cache.subscribe(kind, partial(self._on_change, kind))

    def _on_change(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            for dependent_kind, dependent in self._cache.dependents(uid_of(old)):
                self._collect(dependent_kind, dependent)
            for reference in owners_of(old):
                if owner := self._owner(old, reference):
                    self._finish(*owner)
            return
        if owners_of(new) and (old is None or owners_of(old) != owners_of(new)):
            self._collect(kind, new)
        self._finish(kind, new)

    def _owner(self, dependent: Object, reference: Object) -> tuple[Kind, Object] | None:
        """Return the owner that a reference names; None when it is gone, or its kind is not served here."""
        kind = find_kind(reference["apiVersion"], reference["kind"])
        if kind is None:
            return None
        namespace = dependent["metadata"].get("namespace") if kind.namespaced else None
        try:
            # Ask the store, not the cache: the watches may deliver a dependent before its owner.
            owner = self._store.get(kind, namespace, reference["name"])
        except ApiError:
            return None
        return (kind, owner) if uid_of(owner) == reference["uid"] else None

    def _collect(self, kind: Kind, dependent: Object) -> None:
        """Delete a dependent without remaining owners; else remove the references to owners that are gone."""
        if dependent["metadata"].get("deletionTimestamp"):
            return
        references = owners_of(dependent)
        kept = [reference for reference in references if self._is_kept(dependent, reference)]
        if not kept and references:
            self._cache.delete(kind, dependent, propagation=self._propagation(dependent))
        elif len(kept) < len(references):
            self._drop_owners(kind, dependent, {ref["uid"] for ref in references if ref not in kept})

    def _is_kept(self, dependent: Object, reference: Object) -> bool:
        if find_kind(reference["apiVersion"], reference["kind"]) is None:
            return True  # its kind is not served here
        owner = self._owner(dependent, reference)
        return owner is not None and not _is_held_by(owner[1], FOREGROUND_FINALIZER)

    def _finish(self, kind: Kind, owner: Object) -> None:
        """Continue the deletion of an owner that waits for its dependents."""
        uid = uid_of(owner)
        if _is_held_by(owner, ORPHAN_FINALIZER):
            for dependent_kind, dependent in self._cache.dependents(uid):
                self._drop_owners(dependent_kind, dependent, {uid})
            self._drop_finalizer(kind, owner, ORPHAN_FINALIZER)
        elif _is_held_by(owner, FOREGROUND_FINALIZER):
            for dependent_kind, dependent in self._cache.dependents(uid):
                self._collect(dependent_kind, dependent)
            left = [ref for _, obj in self._cache.dependents(uid) for ref in owners_of(obj) if ref["uid"] == uid]
            if not any(reference.get("blockOwnerDeletion") for reference in left):
                self._drop_finalizer(kind, owner, FOREGROUND_FINALIZER)

    def _drop_owners(self, kind: Kind, dependent: Object, uids: set[str]) -> None:
        self._update(kind, dependent, lambda current: drop_owners(current, uids))

    def _drop_finalizer(self, kind: Kind, owner: Object, finalizer: str) -> None:
        self._update(kind, owner, lambda current: drop_finalizer(current, finalizer))

    def _update(self, kind: Kind, obj: Object, change: Callable[[Object], Object]) -> None:
        try:
            self._cache.update(kind, obj, change)
        except ApiError as error:
            if error.status != 404:
                raise

    def _propagation(self, dependent: Object) -> Propagation:
        """Return how to delete a dependent.

        As an earlier DELETE requested; in the foreground when its owner waits for all dependents.
        """
        if has_finalizer(dependent, ORPHAN_FINALIZER):
            return "Orphan"
        waited_for = any(reference.get("blockOwnerDeletion") for reference in owners_of(dependent))
        if has_finalizer(dependent, FOREGROUND_FINALIZER) or (waited_for and self._cache.dependents(uid_of(dependent))):
            return "Foreground"
        return "Background"


def _is_held_by(obj: Object, finalizer: str) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp")) and has_finalizer(obj, finalizer)
