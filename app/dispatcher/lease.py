"""Reading and building the Lease. Pure: `election` makes the calls.

The Lease has the fields that Kubernetes' own controllers use
(https://kubernetes.io/docs/concepts/architecture/leases/), and the intent in an annotation. Other clients may write the
Lease, too. Whatever they write, a candidate can still take it.
"""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from app.common.types import Json
from app.dispatcher.intent import Intent, Pin, format_intent, parse_intent
from app.kube import labels
from app.kube.manifests import format_time
from app.kube.parsing import read_time

log = logging.getLogger(__name__)

_RELEASED_SECONDS = 1
"""The duration in a Lease that is released while admissions may still arrive. The Lease then keeps its holder's name,
so a dispatcher of version 0.2.0 or earlier, which reads no intents, fences the runs of these admissions."""

_MAX_HELD_SECONDS = 60.0
"""The longest that a candidate waits for a holder that no longer renews, whatever duration the Lease has."""

_MAX_TRANSITIONS = 2**31 - 1
"""The largest `leaseTransitions`: Kubernetes' int32. After it the count starts again at 0."""

_MAX_FOREIGN_BYTES = 64 * 1024
"""The most foreign metadata that is kept on the Lease, in bytes of JSON. Kubernetes allows 256 KiB of annotations and
1.5 MiB per object. With more foreign metadata the intent would not fit, and no dispatcher could write the Lease."""


_SPEC_FIELDS = frozenset({"holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"})
"""The fields of a Lease's spec that a dispatcher writes."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """The times of the Lease. They decide how soon the next leader begins. Safety does not depend on them.

    Attributes:
        lease_seconds: how long other dispatchers wait for a holder that no longer renews.
        renew_seconds: how often the holder renews the Lease.
        retry_seconds: how often a candidate checks whether the Lease is free, and how soon a failed renewal is tried
            again.
    """

    lease_seconds: int = 15
    renew_seconds: float = 4.0
    retry_seconds: float = 1.0


class SeenLease(NamedTuple):
    """A Lease as it was read or written.

    Attributes:
        version: its resourceVersion.
        holder: its `holderIdentity`; empty: the Lease is free.
        seconds: how long other dispatchers wait after its last write, at most `_MAX_HELD_SECONDS`.
        transitions: its `leaseTransitions`.
        intent: the last holder's intent; `None`: unknown, because the annotation is missing, has another format, can't
            be read, or was not written by the last holder.
    """

    version: str
    holder: str
    seconds: float
    transitions: int
    intent: Intent | None


def read_lease(lease: Json) -> SeenLease:
    """Read a Lease."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    holder, transitions = spec.get("holderIdentity") or "", int(spec.get("leaseTransitions") or 0)
    intent = parse_intent((metadata.get("annotations") or {}).get(labels.INTENT_ANNOTATION))
    if intent is not None and (intent.transitions != transitions or holder not in ("", intent.holder)):
        intent = None  # a dispatcher of the first version has held the Lease since; it keeps the annotation as it is
    seconds = min(float(spec.get("leaseDurationSeconds") or 0), _MAX_HELD_SECONDS)
    return SeenLease(str(metadata["resourceVersion"]), holder, seconds, transitions, intent)


def read_renew_time(lease: Json) -> int | None:
    """Return when the Lease was last renewed, microseconds since the epoch; `None`: it does not say."""
    return read_time((lease.get("spec") or {}).get("renewTime"))


class Claim(NamedTuple):
    """What a dispatcher knows about the Lease from its own reads and writes.

    Each write replaces the version that was last known (compare-and-swap), so a write that arrives late has no effect.
    After a write without an answer, the Lease is either unchanged or as this dispatcher wrote it. A read shows which.

    Attributes:
        identity: the dispatcher's identity. Every dispatcher of every process has another one.
        base: the Lease that the next write replaces; `None`: there is no Lease.
        held: whether this dispatcher wrote `base` in the current term.
        sequence: the sequence number of the last write.
        unanswered_writes: the sequence numbers of writes on top of `base` whose answers were lost.
        orphaned_pins: the pins of earlier intents that the intent in `base` does not contain, because since then the
            Lease was deleted or restored, or a dispatcher of version 0.2.0 or earlier wrote it.
        last_version: the resourceVersion of the Lease that was last known, also after the Lease was deleted. A Lease
            with a smaller resourceVersion was restored with etcd.
    """

    identity: str
    base: SeenLease | None = None
    held: bool = False
    sequence: int = 0
    unanswered_writes: frozenset[int] = frozenset()
    orphaned_pins: frozenset[Pin] = frozenset()
    last_version: int = 0

    def look(self, seen: SeenLease | None) -> "Claim":
        """Record the Lease as it was read; `None`: there is no Lease.

        If this leader did not write the Lease, its term ends at once, even if its time has not run out.
        """
        if seen is not None and self._is_own_write(seen):
            return self.stored(seen)
        if (seen and seen.version) == (self.base and self.base.version):
            return self  # the lost write may still arrive
        last_version = self.last_version if seen is None else int(seen.version)
        if seen is not None and (last_version < self.last_version or self._knows_later_intent(seen)):
            # The Lease was restored, or someone put an older intent back. It lacks the admissions sent since then.
            seen = seen._replace(intent=None)
        orphaned = self._find_orphaned_pins(seen)
        return self._replace(
            base=seen, held=False, unanswered_writes=frozenset(), orphaned_pins=orphaned, last_version=last_version
        )

    def _find_orphaned_pins(self, seen: SeenLease | None) -> frozenset[Pin]:
        """Return the known pins that are missing in a Lease written by another client; `None`: the Lease is deleted."""
        intent = seen.intent if seen else None
        if intent is not None and intent.complete:
            return frozenset()
        before = self.base.intent if self.base else None
        if before is None or (intent is not None and not before.complete):
            return self.orphaned_pins
        return self.orphaned_pins | before.pins

    def _knows_later_intent(self, seen: SeenLease) -> bool:
        """Whether the same holder wrote a later intent than this one: someone put an older intent back by hand."""
        intent, known = seen.intent, self.base.intent if self.base else None
        if intent is None or known is None or intent.transitions != known.transitions:
            return False
        return intent.holder == known.holder and intent.sequence < known.sequence

    def _is_own_write(self, seen: SeenLease) -> bool:
        intent = seen.intent
        return intent is not None and seen.holder == self.identity and intent.sequence in self.unanswered_writes

    def prepare(self, pins: frozenset[Pin], *, complete: bool) -> tuple["Claim", Intent]:
        """Begin a write of the Lease; return the intent to write."""
        transitions = 0
        if self.base is not None:
            transitions = self.base.transitions + (self.base.holder != self.identity)
            transitions = transitions if transitions <= _MAX_TRANSITIONS else 0
        intent = Intent(self.identity, transitions, self.sequence + 1, pins, complete)
        return self._replace(sequence=intent.sequence), intent

    def stored(self, seen: SeenLease) -> "Claim":
        """Record that the last write was stored."""
        version = int(seen.version)
        return self._replace(
            base=seen, held=True, unanswered_writes=frozenset(), orphaned_pins=frozenset(), last_version=version
        )

    def lost_answer(self) -> "Claim":
        """Record that the last write had no answer. `look` finds out whether it was stored."""
        return self._replace(unanswered_writes=self.unanswered_writes | {self.sequence})

    def conflicts(self) -> "Claim":
        """Record that the Lease is no longer `base`. The term continues only if an own unanswered write is possible."""
        return self if self.unanswered_writes else self._replace(held=False)


def build_lease(lease: Json | None, intent: Intent, lease_seconds: int) -> Json:
    """Build the Lease that a dispatcher writes to create it, to take it over, or to renew it.

    Args:
        lease: the Lease as last read or written; `None`: there is no Lease.
        intent: the intent of the dispatcher.
        lease_seconds: see `LeaseTiming`.
    """
    before, now = (lease or {}).get("spec") or {}, _now()
    renews = before.get("holderIdentity") == intent.holder
    spec = {
        "holderIdentity": intent.holder,
        "leaseDurationSeconds": lease_seconds,
        "acquireTime": (renews and before.get("acquireTime")) or now,
        "renewTime": now,
        "leaseTransitions": intent.transitions,
    }
    metadata = _metadata_to_keep((lease or {}).get("metadata") or {})
    annotations = (metadata.get("annotations") or {}) | {labels.INTENT_ANNOTATION: format_intent(intent)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {**metadata, "name": labels.LEASE_NAME, "annotations": annotations},
        "spec": {**_spec_to_keep(before), **spec},
    }


def _spec_to_keep(spec: Json) -> Json:
    """Return what others have written into the spec, or nothing if it exceeds `_MAX_FOREIGN_BYTES`."""
    kept = {key: value for key, value in spec.items() if key not in _SPEC_FIELDS}
    return kept if len(json.dumps(kept)) <= _MAX_FOREIGN_BYTES else {}


def _metadata_to_keep(metadata: Json) -> Json:
    """Return the metadata to write back. Foreign metadata is removed if it exceeds `_MAX_FOREIGN_BYTES`.

    `managedFields` can be left out, because the API server keeps it.
    """
    annotations = {
        key: text for key, text in (metadata.get("annotations") or {}).items() if key != labels.INTENT_ANNOTATION
    }
    kept = {key: value for key, value in metadata.items() if key != "managedFields"} | {"annotations": annotations}
    if len(json.dumps(kept)) <= _MAX_FOREIGN_BYTES:
        return kept
    log.warning(
        "the Lease %s has more than 64 KiB of foreign labels and annotations; they are removed", labels.LEASE_NAME
    )
    return {key: metadata[key] for key in ("namespace", "uid", "resourceVersion") if key in metadata}


def build_released_lease(lease: Json, intent: Intent) -> Json:
    """Build the Lease that its holder writes to release it, with the admissions that may still arrive."""
    released = build_lease(lease, intent, _RELEASED_SECONDS)
    if not intent.pins and intent.complete:
        released["spec"]["holderIdentity"] = ""
    return released


def _now() -> str:
    """Return the current time, for people who read the Lease; no decision depends on it."""
    return format_time(datetime.now(UTC))
