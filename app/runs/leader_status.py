"""Whether a dispatcher is at work at all, as far as the Lease tells whom nobody follows.

A dispatcher counts the Lease's time by its own clock and acts on it. This here only tells people, by comparing the
holder's clock with ours: it gives both a minute to differ.
"""

from datetime import UTC, datetime
from typing import Any

from app.common.types import Json
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, NotFoundError
from app.kube.parsing import read_time

NO_DISPATCHER = "NoDispatcher"
"""Why a run waits that could start: nobody is there to admit it."""

_TOLERANCE_SECONDS = 60
"""How far two nodes' clocks may be apart, and how late a busy holder may renew."""


def find_leader_absence(client: NamespacedClient) -> str | None:
    """Ask whether a dispatcher is at work, in one call.

    Returns:
        Why there is none, for people; `None`: there is one, or nobody can say.
    """
    try:
        lease = client.get_lease(labels.LEASE_NAME)
    except NotFoundError:
        lease = None
    except ClusterError:
        return None  # all that the caller asked for is known; this would only have said it better
    return describe_leader_absence(lease, datetime.now(UTC))


def describe_leader_absence(lease: Json | None, now: datetime) -> str | None:
    """Say why no dispatcher is at work, by its Lease; `None`: one is.

    Args:
        lease: as it is now; `None`: there is none.
        now: by our clock.
    """
    if lease is None:
        return f"there is no Lease {labels.LEASE_NAME}"
    spec: dict[str, Any] = lease.get("spec") or {}
    if not spec.get("holderIdentity"):
        return f"nobody holds the Lease {labels.LEASE_NAME}"
    # The holder's name is a pod's: none of a caller's business.
    renewed_at = read_time(spec.get("renewTime"))
    if renewed_at is None:
        return f"the holder of the Lease {labels.LEASE_NAME} has never renewed it"
    silent_seconds = int(now.timestamp() - renewed_at / 1_000_000)
    if silent_seconds <= int(spec.get("leaseDurationSeconds") or 0) + _TOLERANCE_SECONDS:
        return None
    return f"the holder of the Lease {labels.LEASE_NAME} has not renewed it for {silent_seconds} s"
