"""What a Lease says, and what its holder writes into it. Pure: see `election` for the calls.

The Lease is as Kubernetes' own controllers use it (https://kubernetes.io/docs/concepts/architecture/leases/), and has
the intent in an annotation.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from app.common.types import Json
from app.dispatcher.intent import Intent, Pin, format_intent, parse_intent
from app.kube import labels
from app.kube.manifests import format_time

_RELEASED_SECONDS = 1
"""How long others wait for a Lease that is given back while admissions may be under way. It keeps its holder's name, so
that a dispatcher of the first version, which reads no intents, fences what may be under way."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How the Lease is kept. It decides how soon the next leader begins, and nothing about safety.

    Attributes:
        lease_seconds: how long others wait for a holder that has fallen silent.
        renew_seconds: how often the holder renews it.
        retry_seconds: how often a candidate looks whether the Lease is free, and how soon a failed renewal is tried
            again.
    """

    lease_seconds: int = 15
    renew_seconds: float = 4.0
    retry_seconds: float = 1.0


class SeenLease(NamedTuple):
    """A Lease as it was read or written.

    Attributes:
        version: its resourceVersion.
        holder: empty: nobody.
        seconds: how long it keeps others away from when it was last written.
        transitions: its `leaseTransitions`.
        intent: the last holder's; `None`: unknown, because the annotation is missing, has another format, can't be
            read, or was not written by the last holder.
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
    seconds = float(spec.get("leaseDurationSeconds") or 0)
    return SeenLease(str(metadata["resourceVersion"]), holder, seconds, transitions, intent)


class Claim(NamedTuple):
    """A candidate's or leader's hold on the Lease, as far as its own writes and reads tell.

    Each write replaces the version that was last known (compare-and-swap), so a write that arrives late can do no harm.
    A write without an answer leaves the Lease either as it was or as this candidate wrote it; reading it tells.

    Attributes:
        identity: unlike any other candidate's, also those of earlier processes in the same pod.
        base: the Lease that the next write replaces; `None`: there is none.
        held: whether `base` was written by this candidate in the present term.
        sequence: of the last write.
        unanswered: the sequences of writes on top of `base` whose answers were lost.
        left: the pins of earlier intents that the one in `base` does not cover: since then the Lease was deleted or
            restored, or a dispatcher of the first version has written it.
        last_version: the resourceVersion of the Lease that was last known, also when it is deleted. A Lease with a
            smaller one has been restored.
    """

    identity: str
    base: SeenLease | None = None
    held: bool = False
    sequence: int = 0
    unanswered: frozenset[int] = frozenset()
    left: frozenset[Pin] = frozenset()
    last_version: int = 0

    def look(self, seen: SeenLease | None) -> "Claim":
        """Take in the Lease as it is now, `None`: there is none.

        A Lease that this leader did not write ends its term, whatever its clock says.
        """
        if seen is not None and self._is_own_write(seen):
            return self.stored(seen)
        if (seen and seen.version) == (self.base and self.base.version):
            return self  # the lost write may still arrive
        last_version = self.last_version if seen is None else int(seen.version)
        if seen is not None and last_version < self.last_version:
            seen = seen._replace(intent=None)  # restored: it does not name what was sent since it was written
        left = self._left_by(seen)
        return self._replace(base=seen, held=False, unanswered=frozenset(), left=left, last_version=last_version)

    def _left_by(self, seen: SeenLease | None) -> frozenset[Pin]:
        """Return the pins that a Lease which somebody else has written does not cover; `None`: it was deleted."""
        intent = seen.intent if seen else None
        if intent is not None and intent.complete:
            return frozenset()
        before = self.base.intent if self.base else None
        if before is None or (intent is not None and not before.complete):
            return self.left
        return self.left | before.pins

    def _is_own_write(self, seen: SeenLease) -> bool:
        intent = seen.intent
        return intent is not None and seen.holder == self.identity and intent.sequence in self.unanswered

    def prepare(self, pins: frozenset[Pin], *, complete: bool) -> tuple["Claim", Intent]:
        """Begin a write of the Lease; returns what it is to say."""
        transitions = 0
        if self.base is not None:
            transitions = self.base.transitions + (self.base.holder != self.identity)
        intent = Intent(self.identity, transitions, self.sequence + 1, pins, complete)
        return self._replace(sequence=intent.sequence), intent

    def stored(self, seen: SeenLease) -> "Claim":
        """Take in the answer to the last write."""
        version = int(seen.version)
        return self._replace(base=seen, held=True, unanswered=frozenset(), left=frozenset(), last_version=version)

    def unsure(self) -> "Claim":
        """Take in that the last write had no answer; `look` tells what became of it."""
        return self._replace(unanswered=self.unanswered | {self.sequence})

    def conflicts(self) -> "Claim":
        """Take in that the Lease is no longer `base`. Only an own write without an answer can keep the term."""
        return self if self.unanswered else self._replace(held=False)


def build_lease(lease: Json | None, intent: Intent, lease_seconds: int) -> Json:
    """Build the Lease as its holder writes it: taken over, renewed, or new.

    Args:
        lease: as last read or written; `None`: there is none.
        intent: of the holder.
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
    new = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": labels.LEASE_NAME}}
    written = {**(lease or new), "spec": {**before, **spec}}
    annotations = (written["metadata"].get("annotations") or {}) | {labels.INTENT_ANNOTATION: format_intent(intent)}
    return {**written, "metadata": {**written["metadata"], "annotations": annotations}}


def build_released_lease(lease: Json, intent: Intent) -> Json:
    """Build the Lease as its holder gives it back, with what may still be under way."""
    released = build_lease(lease, intent, _RELEASED_SECONDS)
    if not intent.pins and intent.complete:
        released["spec"]["holderIdentity"] = ""
    return released


def _now() -> str:
    """Return the current time, for people who read the Lease; no decision depends on it."""
    return format_time(datetime.now(UTC))
