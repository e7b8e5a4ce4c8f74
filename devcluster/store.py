"""The embedded cluster's storage: all objects, one revision counter, and the history that serves watches.

It gives the guarantees of a Kubernetes API server's storage (see
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions): each change gets a new revision, which
becomes the object's resourceVersion; writes use optimistic locking; a watch sees every change once, in order. All
writes, by clients over HTTP and by controllers in this process, go through the same defaults and validation.

Objects returned by the store are shared: treat them as immutable, and `devcluster.objects.clone` them before a change.
As in Kubernetes, a controller, the garbage collector, deletes the dependents of a deleted object.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from devcluster import errors, validation
from devcluster.accounts import DEFAULT_ACCOUNT, assign_account, default_account
from devcluster.deletion import DeleteOptions, Propagation, is_released, plan_deletion
from devcluster.history import Matcher, WatchEvent
from devcluster.kinds import KINDS, NAMESPACE, POD, SERVICE_ACCOUNT, Kind
from devcluster.objects import Object, clone, generate_name, key_of, metadata_of, to_time
from devcluster.resource_store import ResourceStore
from devcluster.subscriptions import Subscription
from devcluster.writes import begin_object, check_versions

__all__ = ["Propagation", "Store", "Subscription", "WatchEvent"]

_SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_GENERATE_ATTEMPTS = 8  # as in the API server; then the error says that the name is in use


Events = list[WatchEvent]  # named here, because in the body of a class with a `list` method, `list` is that method


class Store:
    """All objects of one embedded cluster. Every method may be called from any thread.

    `history_size` is the minimum number of changes kept for each kind; a watch from an older revision gets 410.
    """

    def __init__(self, *, history_size: int = 10_000) -> None:
        self._lock = threading.RLock()
        self._revision = 1
        self._history_size = history_size
        self._stores = {kind: ResourceStore(self._lock, history_size) for kind in KINDS}
        for name in _SYSTEM_NAMESPACES:
            self.ensure_namespace(name)

    @property
    def revision(self) -> int:
        """The revision of the latest change."""
        with self._lock:
            return self._revision

    def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        """Default, validate and store a new object; `metadata.generateName` gets a free name.

        Raises:
            ApiError: 409 the name is in use, 422 the object violates its kind's rules, 400 it is malformed.
        """
        prepared = begin_object(kind, obj)
        generated = not prepared["metadata"].get("name") and bool(prepared["metadata"].get("generateName"))
        for _ in range(_GENERATE_ATTEMPTS if generated else 1):
            candidate = clone(prepared) if generated else prepared
            metadata = candidate["metadata"]
            if generated:
                metadata["name"] = generate_name(metadata["generateName"])
            validation.complete_new(kind, candidate)
            if kind is POD:
                self._assign_account(candidate, metadata["generateName"] if generated else metadata.get("name", ""))
            causes = validation.check_new(kind, candidate)
            name = metadata.get("name", "")
            if causes:
                raise errors.invalid(kind, name, causes)
            validation.settle_new(kind, candidate)
            key = key_of(metadata.get("namespace"), name)
            with self._lock:
                if key in self._stores[kind].objects:
                    continue
                if dry_run:
                    return candidate
                if kind.namespaced:
                    self.ensure_namespace(metadata["namespace"])
                created = self._commit(kind, key, candidate)
                if kind is NAMESPACE:
                    self.create(SERVICE_ACCOUNT, default_account(name))
                return created
        raise errors.already_exists(kind, name, generated=generated)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """Return one object.

        Raises:
            ApiError: 404, it does not exist.
        """
        with self._lock:
            found = self._stores[kind].objects.get(key_of(namespace, name))
        if found is None:
            raise errors.not_found(kind, name)
        return found

    def list(
        self, kind: Kind, namespace: str | None, matches: Matcher | None = None, *, revision: int | None = None
    ) -> tuple[list[Object], int]:
        """Return the objects, sorted by namespace and name, and the revision of this list.

        Args:
            kind: The kind to list.
            namespace: None for all.
            matches: Selects objects; None selects all.
            revision: A past revision to list at; None for the present.

        Raises:
            ApiError: 410, changes since that revision have been dropped.
        """
        with self._lock:
            past = None if revision is None or revision >= self._revision else revision
            found = self._stores[kind].list(namespace, past)
            shown = self._revision if past is None else past
        return (found if matches is None else [obj for obj in found if matches(obj)]), shown

    def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        change: Callable[[Object], Object],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Read, change, validate and store one object under the lock; return its new state.

        `change` gets its own copy and returns the object to store, which may be that copy. A resourceVersion in the
        returned object (or given as `resource_version`) must be the stored one. With `subresource="status"` only the
        status changes, without it everything but the status; "binding" assigns a pod to a node. An update without
        effect makes no revision. An object that is being deleted is removed together with its last finalizer.

        Raises:
            ApiError: 404, 409 it was modified since, 422 the new state violates its kind's rules.
        """
        with self._lock:
            old = self.get(kind, namespace, name)
            new = change(clone(old))
            check_versions(kind, name, old, new, resource_version)
            validation.complete_update(kind, new, old, subresource)
            causes = validation.check_update(kind, new, old, subresource)
            if causes:
                raise errors.invalid(kind, name, causes)
            if new == old:
                return old
            key = key_of(namespace, name)
            if dry_run:
                return new
            if is_released(new):
                # Watches get the last stored state, which still has that finalizer.
                gone = self._remove(kind, key, clone(old))
                return {**new, "metadata": {**new["metadata"], "resourceVersion": gone["metadata"]["resourceVersion"]}}
            return self._commit(kind, key, new)

    def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete one object, or mark it as being deleted when finalizers or a grace period delay that.

        Args:
            kind: The object's kind.
            namespace: None for a cluster-wide kind.
            name: The object's name.
            propagation: What happens to its dependents; None for the kind's default, which is `Orphan` for Jobs.
            grace_period_seconds: For pods on a node: the time they have to stop; None for the pod's own.
            uid: Precondition.
            resource_version: Precondition.
            dry_run: Decide, but change nothing.

        Returns:
            The object's last state. It is removed when it has no `metadata.deletionTimestamp`, or when `is_released`.

        Raises:
            ApiError: 404, or 409 when a precondition failed.
        """
        options = DeleteOptions(propagation, grace_period_seconds, uid, resource_version)
        with self._lock:
            obj = self.get(kind, namespace, name)
            deletion = plan_deletion(kind, obj, options, datetime.now(UTC))
            key = key_of(namespace, name)
            last = obj if deletion.marked is None else deletion.marked
            if dry_run:
                return last
            if deletion.marked is not None:
                last = self._commit(kind, key, deletion.marked)
            if not deletion.remove:
                return last
            if kind is NAMESPACE:
                return self._remove_namespace(key, last)
            return self._remove(kind, key, clone(last))

    def subscribe(self, kind: Kind, namespace: str | None, since: int) -> Subscription:
        """Open a watch of the changes after revision `since`; see `Subscription`."""
        return Subscription(self, kind, namespace, since)

    def copy(self) -> "Store":
        """Return another store with the same objects at the same revision, as a restore of an etcd snapshot makes it.

        It has no watches and no history: a watch from an earlier revision gets 410.
        """
        other = Store(history_size=self._history_size)
        with self._lock:
            for kind, resource_store in self._stores.items():
                for key, obj in resource_store.objects.items():
                    other._stores[kind].put(key, obj)
            other._revision = self._revision
        other.compact()
        return other

    def compact(self) -> None:
        """Drop the history: a watch from an earlier revision gets 410, as after a compaction of etcd."""
        with self._lock:
            for resource_store in self._stores.values():
                resource_store.history.compact(self._revision)

    def ensure_namespace(self, name: str) -> None:
        """Create the namespace unless it exists; every valid name is a namespace on demand.

        Raises:
            ApiError: 422, the name is not a DNS label.
        """
        with self._lock:
            if key_of(None, name) not in self._stores[NAMESPACE].objects:
                self.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def changes(self, kind: Kind, since: int, deadline: float | None, closed: Callable[[], bool]) -> tuple[Events, int]:
        """Wait for changes after `since`; return them and the current revision.

        The list is empty only when `deadline` (a `time.monotonic`) passed or `closed` returned True.
        """
        resource_store = self._stores[kind]
        with self._lock:
            while True:
                events = resource_store.history.since(since)
                if events or closed():
                    return events, self._revision
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return [], self._revision
                resource_store.changed.wait(remaining)

    def wake(self, kind: Kind) -> None:
        """Make the watches of a kind check whether they are closed."""
        with self._lock:
            self._stores[kind].changed.notify_all()

    def _assign_account(self, pod: Object, shown: str) -> None:
        namespace = pod["metadata"]["namespace"]
        self.ensure_namespace(namespace)
        assign_account(pod, shown, lambda name: self.get(SERVICE_ACCOUNT, namespace, name))

    def _remove_namespace(self, key: str, namespace: Object) -> Object:
        """Remove a namespace and its contents at once, without waiting for finalizers."""
        ending = clone(namespace)
        ending["metadata"]["deletionTimestamp"] = to_time(datetime.now(UTC))
        ending["status"] = {"phase": "Terminating"}
        ending = self._commit(NAMESPACE, key, ending)
        name = ending["metadata"]["name"]
        for kind in self._stores:
            if kind.namespaced:
                for obj in self.list(kind, name)[0]:
                    self._remove(kind, key_of(name, metadata_of(obj)["name"]), clone(obj))
        self._remove(NAMESPACE, key, {**clone(ending), "spec": {}})
        return ending

    def _commit(self, kind: Kind, key: str, obj: Object) -> Object:
        """Store a new state under the next revision; the store takes ownership of the object."""
        resource_store = self._stores[kind]
        previous = resource_store.objects.get(key)
        self._stamp(obj)
        resource_store.put(key, obj)
        change = WatchEvent("ADDED" if previous is None else "MODIFIED", obj, self._revision, key, previous)
        self._publish(resource_store, change)
        return obj

    def _remove(self, kind: Kind, key: str, last: Object) -> Object:
        resource_store = self._stores[kind]
        previous = resource_store.objects[key]
        resource_store.remove(key)
        self._stamp(last)
        self._publish(resource_store, WatchEvent("DELETED", last, self._revision, key, previous))
        if kind is SERVICE_ACCOUNT and metadata_of(last)["name"] == DEFAULT_ACCOUNT:
            self._renew_default_account(metadata_of(last)["namespace"])
        return last

    def _renew_default_account(self, namespace: str) -> None:
        """Recreate the namespace's default account unless the namespace is being deleted."""
        if self.get(NAMESPACE, None, namespace)["status"]["phase"] != "Terminating":
            self.create(SERVICE_ACCOUNT, default_account(namespace))

    def _stamp(self, obj: Object) -> None:
        self._revision += 1
        metadata: dict[str, Any] = metadata_of(obj)
        metadata["resourceVersion"] = str(self._revision)

    def _publish(self, resource_store: ResourceStore, event: WatchEvent) -> None:
        resource_store.history.append(event)
        resource_store.changed.notify_all()
