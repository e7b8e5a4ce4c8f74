"""The controllers' cache of the cluster: it follows the store's watches, and writes through to the store.

The cache contains a write at once, before the watch delivers it, and ignores watch events that are older than its own
state (resourceVersions increase). So a controller never decides on a state from before its own writes: a late or
repeated event cannot make it create a pod twice. kube-controller-manager solves this with "expectations".
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from devcluster.controllers.loop import Key, Loop
from devcluster.controllers.metadata import key_of, owners_of, uid_of
from devcluster.deletion import Propagation
from devcluster.errors import ApiError, conflict
from devcluster.kinds import POD, Kind
from devcluster.objects import Object, clone, version_of
from devcluster.store import Store, Subscription

Handler = Callable[[Object | None, Object | None], None]  # the state before (None: created) and after (None: deleted)

_log = logging.getLogger(__name__)


class Cache:
    """The objects of some kinds. Only the loop's thread may read and write; each watch has its own thread."""

    def __init__(self, store: Store, loop: Loop, kinds: Iterable[Kind]) -> None:
        self._store = store
        self._loop = loop
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in kinds}
        # Own deletions, by revision, until the watch delivers them: an older event must not bring an object back.
        self._removed: dict[Kind, dict[Key, int]] = {kind: {} for kind in self._objects}
        self._dependents: defaultdict[str, dict[tuple[Kind, Key], Object]] = defaultdict(dict)  # by the owner's uid
        self._handlers: defaultdict[Kind, list[Handler]] = defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._open: dict[Kind, Subscription] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """List all objects, then follow the watches."""
        for kind in self._objects:
            revision = self._list(kind)
            self._open[kind] = self._store.subscribe(kind, None, revision)
            thread = threading.Thread(target=self._follow, args=(kind,), name=f"watch-{kind.plural}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the watches and their threads."""
        self._stopping.set()
        for subscription in self._open.values():
            subscription.close()
        for thread in self._threads:
            thread.join()

    def subscribe(self, kind: Kind, handler: Handler) -> None:
        """Call `handler` on the loop after each change of an object of a kind. Call this before `start`."""
        self._handlers[kind].append(handler)

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return the cached object; None when there is none."""
        return self._objects[kind].get((namespace or "", name))

    def all(self, kind: Kind) -> Iterator[Object]:
        """Return all cached objects of a kind."""
        return iter(list(self._objects[kind].values()))

    def dependents(self, uid: str) -> list[tuple[Kind, Object]]:
        """Return the objects whose ownerReferences contain this uid."""
        return [(kind, obj) for (kind, _), obj in self._dependents.get(uid, {}).items()]

    def controlled(self, kind: Kind, owner: Object) -> list[Object]:
        """Return the objects of a kind whose controller is this owner."""
        uid = uid_of(owner)
        return [
            obj
            for found, obj in self.dependents(uid)
            if found is kind and any(ref["uid"] == uid and ref.get("controller") for ref in owners_of(obj))
        ]

    def create(self, kind: Kind, obj: Object) -> Object:
        """Store a new object; raises as `Store.create` does."""
        return self._refresh(kind, self._store.create(kind, obj))

    def update(
        self,
        kind: Kind,
        obj: Object,
        change: Callable[[Object], Object],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Change the object with the uid of `obj`; otherwise as `Store.update`.

        Raises:
            ApiError: 404 it does not exist, or another object has its name; otherwise as `Store.update`.
        """
        metadata = obj["metadata"]

        def change_same(current: Object) -> Object:
            if uid_of(current) != metadata["uid"]:
                raise ApiError(
                    404, "NotFound", f"{kind.singular} {metadata['name']} was replaced by another object of that name"
                )
            return change(current)

        changed = self._store.update(
            kind,
            metadata.get("namespace"),
            metadata["name"],
            change_same,
            subresource=subresource,
            resource_version=resource_version,
        )
        return self._refresh(kind, changed)

    def bind(self, pod: Object, node_name: str) -> Object:
        """Assign a pod to a node, as the `binding` subresource does; an update may not change `spec.nodeName`.

        Raises:
            ApiError: 404 it does not exist, or another pod has its name; 409 it is assigned already.
        """
        name = pod["metadata"]["name"]

        def assign(current: Object) -> Object:
            if taken := current["spec"].get("nodeName"):
                raise conflict(POD, name, f'pod {name} is already assigned to node "{taken}"')
            return {**current, "spec": {**current["spec"], "nodeName": node_name}}

        return self.update(POD, pod, assign, subresource="binding")

    def write_status(self, kind: Kind, obj: Object, status: Object) -> None:
        """Store a status computed from this state of the object, unless it is unchanged.

        Raises:
            ApiError: 404 the object does not exist, 409 it was modified since.
        """
        if status != obj.get("status"):
            version = obj["metadata"]["resourceVersion"]
            self.update(
                kind,
                obj,
                lambda current: {**current, "status": clone(status)},
                subresource="status",
                resource_version=version,
            )

    def delete(
        self,
        kind: Kind,
        obj: Object,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
    ) -> None:
        """Delete the object with the uid of `obj`; do nothing when it is gone or replaced."""
        metadata = obj["metadata"]
        try:
            last = self._store.delete(
                kind,
                metadata.get("namespace"),
                metadata["name"],
                propagation=propagation,
                grace_period_seconds=grace_period_seconds,
                uid=metadata["uid"],
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return
        self._refresh(kind, last)

    def _refresh(self, kind: Kind, obj: Object) -> Object:
        """Cache the stored state after a write that returned `obj`; remove the object when it is gone."""
        metadata = obj["metadata"]
        try:
            current = self._store.get(kind, metadata.get("namespace"), metadata["name"])
        except ApiError:
            current = None
        if current is None or uid_of(current) != metadata["uid"]:
            self._apply(kind, obj, gone=True)
            self._removed[kind][key_of(obj)] = version_of(obj)
        else:
            self._apply(kind, current, gone=False)
        return obj

    def _list(self, kind: Kind) -> int:
        objects, revision = self._store.list(kind, None)
        self._loop.post(self._replace, kind, objects, revision)
        return revision

    def _follow(self, kind: Kind) -> None:
        while not self._stopping.is_set():
            try:
                for event in self._open[kind].wait():
                    self._loop.post(self._apply, kind, event.object, event.type == "DELETED")
            except ApiError as error:
                _log.info("watch of %s failed: %s; listing again", kind.plural, error)
                self._open[kind] = self._store.subscribe(kind, None, self._list(kind))

    def _replace(self, kind: Kind, objects: list[Object], revision: int) -> None:
        """Apply a list: cache its objects, and remove those that it lacks unless they are newer."""
        removed = self._removed[kind]
        self._removed[kind] = {key: version for key, version in removed.items() if version > revision}
        listed = {key_of(obj) for obj in objects}
        for obj in objects:
            self._apply(kind, obj, gone=False)
        for key, obj in list(self._objects[kind].items()):
            if key not in listed and version_of(obj) <= revision:
                self._apply(kind, obj, gone=True)

    def _apply(self, kind: Kind, obj: Object, gone: bool) -> None:
        """Apply one object's state unless a newer one is cached; then notify the handlers."""
        key, version = key_of(obj), version_of(obj)
        removed_version = self._removed[kind].get(key, 0)
        if version <= removed_version:
            if version == removed_version:
                del self._removed[kind][key]  # the watch has delivered the deletion
            return
        cached = self._objects[kind].get(key)
        if cached is not None:
            if version_of(cached) >= version and not (gone and cached is obj):
                return
            self._forget(kind, key, cached)
            if uid_of(cached) != uid_of(obj):
                self._notify(kind, cached, None)
                cached = None
        if not gone:
            self._objects[kind][key] = obj
            for reference in owners_of(obj):
                self._dependents[reference["uid"]][kind, key] = obj
        if cached is not None or not gone:
            self._notify(kind, cached, None if gone else obj)

    def _notify(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers[kind]:
            self._loop.post(handler, old, new)

    def _forget(self, kind: Kind, key: Key, cached: Object) -> None:
        del self._objects[kind][key]
        for reference in owners_of(cached):
            uid = reference["uid"]
            self._dependents[uid].pop((kind, key), None)
            if not self._dependents[uid]:
                del self._dependents[uid]
