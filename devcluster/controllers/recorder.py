"""Events: what the controllers and the node report in `kubectl describe` and `kubectl get events`.

As in client-go's recorder, a repeated event increases the `count` and `lastTimestamp` of the first one.
See https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ (the core/v1 form is stored here).
"""

import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime

from devcluster.errors import ApiError
from devcluster.kinds import EVENT, Kind
from devcluster.objects import Object, to_time
from devcluster.store import Store

_REMEMBERED = 4096  # events whose repetitions are counted; as in client-go

_log = logging.getLogger(__name__)

_Identity = tuple[str, ...]


class Recorder:
    """Records the events of one component; only for the loop's thread."""

    def __init__(self, store: Store, component: str, host: str | None = None) -> None:
        self._store = store
        self._source = {"component": component} | ({"host": host} if host else {})
        self._names: OrderedDict[_Identity, str] = OrderedDict()

    def normal(self, kind: Kind, obj: Object, reason: str, message: str, field_path: str = "") -> None:
        """Record a Normal event."""
        self._record(kind, obj, "Normal", reason, message, field_path)

    def warn(self, kind: Kind, obj: Object, reason: str, message: str, field_path: str = "") -> None:
        """Record a Warning event; `field_path` names the part concerned, such as `spec.containers{name}`."""
        self._record(kind, obj, "Warning", reason, message, field_path)

    def _record(self, kind: Kind, obj: Object, type_: str, reason: str, message: str, field_path: str) -> None:
        metadata = obj["metadata"]
        namespace: str = metadata.get("namespace") or "default"
        identity = (metadata["uid"], type_, reason, message, field_path)
        moment = to_time(datetime.now(UTC))
        if (name := self._names.get(identity)) and self._repeat(namespace, name, moment):
            self._names.move_to_end(identity)
            return
        name = f"{metadata['name']}.{time.time_ns():x}"
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": _reference(kind, obj, field_path),
            "type": type_,
            "reason": reason,
            "message": message,
            "source": self._source,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "eventTime": None,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }
        try:
            self._store.create(EVENT, event)
        except ApiError as error:  # a failure to record must not affect the component
            _log.warning("cannot record event %s of %s/%s: %s", reason, namespace, metadata["name"], error)
            return
        self._names[identity] = name
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def _repeat(self, namespace: str, name: str, moment: str) -> bool:
        def count(event: Object) -> Object:
            return {**event, "count": event.get("count", 1) + 1, "lastTimestamp": moment}

        try:
            self._store.update(EVENT, namespace, name, count)
        except ApiError as error:
            if error.status != 404:
                raise
            return False  # the event expired
        return True


def _reference(kind: Kind, obj: Object, field_path: str) -> Object:
    metadata = obj["metadata"]
    reference = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if metadata.get("namespace"):
        reference["namespace"] = metadata["namespace"]
    if field_path:
        reference["fieldPath"] = field_path
    return reference
