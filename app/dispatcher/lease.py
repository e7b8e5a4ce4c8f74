"""What a Lease says, and what is written into it.

See https://kubernetes.io/docs/concepts/architecture/leases/
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.common.types import Json
from app.kube import labels
from app.kube.manifests import format_time
from app.kube.transport import CALL_SECONDS


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How the lease is kept.

    Attributes:
        lease_seconds: how long others wait for a holder that has fallen silent.
        renew_seconds: how often the holder says that it is there.
        retry_seconds: how often a candidate looks whether the lease is free, and how soon a failed renewal is tried
            again.
        margin_seconds: how much of the lease must be left for a write to begin: as long as it can take.
    """

    lease_seconds: int = 15
    renew_seconds: float = 4.0
    retry_seconds: float = 1.0
    margin_seconds: float = CALL_SECONDS


def read_holder(lease: Json | None) -> str | None:
    """Who holds it; `None` or empty: nobody, or there is none."""
    holder: str | None = _spec_of(lease).get("holderIdentity")
    return holder


def read_seconds(lease: Json | None) -> float:
    """For how long it keeps others away from when it was last written."""
    return float(_spec_of(lease).get("leaseDurationSeconds") or 0)


def build_taken(lease: Json | None, identity: str, lease_seconds: int) -> Json:
    """The lease as its holder writes it: taken over, renewed where it is the holder's already, or new.

    Args:
        lease: as last seen; `None`: there is none.
        identity: the holder's.
        lease_seconds: see `LeaseTiming`.
    """
    before, now = _spec_of(lease), _now()
    renews = before.get("holderIdentity") == identity
    transitions = int(before.get("leaseTransitions") or 0)
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": lease_seconds,
        "acquireTime": (renews and before.get("acquireTime")) or now,
        "renewTime": now,
        "leaseTransitions": transitions if renews or lease is None else transitions + 1,
    }
    new = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": labels.LEASE_NAME}}
    return {**(lease or new), "spec": {**before, **spec}}


def build_given_back(lease: Json) -> Json:
    """The lease as its holder leaves it to whoever comes next."""
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
    return {**lease, "spec": {**_spec_of(lease), **spec}}


def _spec_of(lease: Json | None) -> Json:
    return (lease or {}).get("spec") or {}


def _now() -> str:
    """The present, for people who read the lease; no decision is made by it."""
    return format_time(datetime.now(UTC))
