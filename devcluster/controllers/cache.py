"""What the controllers know of the cluster: a cache that follows the store's watches, and writes through to the store.

A write is known at once, not only when the watch shows it, and news that is older than what is known is dropped
(resourceVersions grow). So a controller never decides on a state from before its own writes: a notification that is
late or repeated can't make it create a pod twice. kube-controller-manager reaches the same with "expectations".
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

Handler = Callable[[Object | None, Object | None], None]  # the state before (None: new) and after (None: gone)

_log = logging.getLogger(__name__)


class Cache:
    """The objects of some kinds. Reads and writes are for the loop's thread; the watches have threads of their own."""

    def __init__(self, store: Store, loop: Loop, kinds: Iterable[Kind]) -> None:
        self._store = store
        self._loop = loop
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in kinds}
        # What own writes removed, with the removal's revision, until the watch shows it: older news must not revive it.
        self._removed: dict[Kind, dict[Key, int]] = {kind: {} for kind in self._objects}
        self._dependents: defaultdict[str, dict[tuple[Kind, Key], Object]] = defaultdict(dict)  # by their owner's uid
        self._handlers: defaultdict[Kind, list[Handler]] = defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._open: dict[Kind, Subscription] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Take in what exists, then follow the changes."""
        for kind in self._objects:
            revision = self._list(kind)
            self._open[kind] = self._store.subscribe(kind, None, revision)
            thread = threading.Thread(target=self._follow, args=(kind,), name=f"watch-{kind.plural}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the watches."""
        self._stopping.set()
        for subscription in self._open.values():
            subscription.close()
        for thread in self._threads:
            thread.join()

    def subscribe(self, kind: Kind, handler: Handler) -> None:
        """Call `handler` on the loop after each change of an object of a kind; before `start`."""
        self._handlers[kind].append(handler)

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return the object as known, None when there is none."""
        return self._objects[kind].get((namespace or "", name))

    def all(self, kind: Kind) -> Iterator[Object]:
        """Return every known object of a kind."""
        return iter(list(self._objects[kind].values()))

    def dependents(self, uid: str) -> list[tuple[Kind, Object]]:
        """Return the objects that name an owner of this uid in their ownerReferences."""
        return [(kind, obj) for (kind, _), obj in self._dependents.get(uid, {}).items()]

    def controlled(self, kind: Kind, owner: Object) -> list[Object]:
        """Return the objects of a kind that a controller manages on behalf of this owner."""
        uid = uid_of(owner)
        return [
            obj
            for found, obj in self.dependents(uid)
            if found is kind and any(ref["uid"] == uid and ref.get("controller") for ref in owners_of(obj))
        ]

    def create(self, kind: Kind, obj: Object) -> Object:
        """Store a new object; raises as `Store.create`."""
        return self._know(kind, self._store.create(kind, obj))

    def update(
        self,
        kind: Kind,
        obj: Object,
        change: Callable[[Object], Object],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Change the object that has the uid of `obj`; the rest is as for `Store.update`.

        Raises:
            ApiError: 404 it is gone, or another one has its name; else as `Store.update`.
        """
        metadata = obj["metadata"]

        def change_same(current: Object) -> Object:
            if uid_of(current) != metadata["uid"]:
                raise ApiError(404, "NotFound", f"{kind.singular} {metadata['name']} is another one by now")
            return change(current)

        changed = self._store.update(
            kind,
            metadata.get("namespace"),
            metadata["name"],
            change_same,
            subresource=subresource,
            resource_version=resource_version,
        )
        return self._know(kind, changed)

    def bind(self, pod: Object, node_name: str) -> Object:
        """Give a pod its node, as the `binding` subresource does: an update may not change `spec.nodeName`.

        Raises:
            ApiError: 404 it is gone, or another one has its name; 409 it has a node.
        """
        name = pod["metadata"]["name"]

        def assign(current: Object) -> Object:
            if taken := current["spec"].get("nodeName"):
                raise conflict(POD, name, f'pod {name} is already assigned to node "{taken}"')
            return {**current, "spec": {**current["spec"], "nodeName": node_name}}

        return self.update(POD, pod, assign, subresource="binding")

    def write_status(self, kind: Kind, obj: Object, status: Object) -> None:
        """Store a status that was decided on this state of the object, unless it has it already.

        Raises:
            ApiError: 404 it is gone, 409 it changed in the meantime.
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
        """Delete the object that has the uid of `obj`; that it is gone already, or another one by now, is fine."""
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
        self._know(kind, last)

    def _know(self, kind: Kind, obj: Object) -> Object:
        """Take in a state that a write returned, unless it is the last one of an object that is gone."""
        metadata = obj["metadata"]
        try:
            current = self._store.get(kind, metadata.get("namespace"), metadata["name"])
        except ApiError:
            current = None
        if current is None or uid_of(current) != metadata["uid"]:
            self._take(kind, obj, gone=True)
            self._removed[kind][key_of(obj)] = version_of(obj)
        else:
            self._take(kind, current, gone=False)
        return obj

    def _list(self, kind: Kind) -> int:
        objects, revision = self._store.list(kind, None)
        self._loop.post(self._replace, kind, objects, revision)
        return revision

    def _follow(self, kind: Kind) -> None:
        while not self._stopping.is_set():
            try:
                for event in self._open[kind].wait():
                    self._loop.post(self._take, kind, event.object, event.type == "DELETED")
            except ApiError as error:
                _log.info("watch of %s: %s; listing again", kind.plural, error)
                self._open[kind] = self._store.subscribe(kind, None, self._list(kind))

    def _replace(self, kind: Kind, objects: list[Object], revision: int) -> None:
        """Take in a list: what is in it, and that what isn't, and isn't newer, is gone."""
        removed = self._removed[kind]
        self._removed[kind] = {key: version for key, version in removed.items() if version > revision}
        listed = {key_of(obj) for obj in objects}
        for obj in objects:
            self._take(kind, obj, gone=False)
        for key, obj in list(self._objects[kind].items()):
            if key not in listed and version_of(obj) <= revision:
                self._take(kind, obj, gone=True)

    def _take(self, kind: Kind, obj: Object, gone: bool) -> None:
        """Take in one object's state, unless a newer one is known; tell the handlers afterwards."""
        key, version = key_of(obj), version_of(obj)
        removed_version = self._removed[kind].get(key, 0)
        if version <= removed_version:
            if version == removed_version:
                del self._removed[kind][key]  # the watch has caught up with the removal
            return
        known = self._objects[kind].get(key)
        if known is not None:
            if version_of(known) >= version and not (gone and known is obj):
                return
            self._forget(kind, key, known)
            if uid_of(known) != uid_of(obj):
                self._tell(kind, known, None)
                known = None
        if not gone:
            self._objects[kind][key] = obj
            for reference in owners_of(obj):
                self._dependents[reference["uid"]][kind, key] = obj
        if known is not None or not gone:
            self._tell(kind, known, None if gone else obj)

    def _tell(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers[kind]:
            self._loop.post(handler, old, new)

    def _forget(self, kind: Kind, key: Key, known: Object) -> None:
        del self._objects[kind][key]
        for reference in owners_of(known):
            uid = reference["uid"]
            self._dependents[uid].pop((kind, key), None)
            if not self._dependents[uid]:
                del self._dependents[uid]
