"""Whether any dispatcher is at work, by its Lease.

This compares the holder's clock with ours, and allows them to differ by a minute. It is only text for people: a
dispatcher itself measures the Lease's time by its own clock alone.
"""

from datetime import UTC, datetime
from typing import Any

from app.common.types import Json
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, NotFoundError
from app.kube.parsing import read_time

NO_DISPATCHER = "NoDispatcher"
"""The reason of a queued run that could start, but has no dispatcher to admit it."""

_TOLERANCE_SECONDS = 60
"""How far the clocks of two nodes may differ, and how late a busy holder may renew."""


def find_leader_absence(client: NamespacedClient) -> str | None:
    """Read the Lease, and say why no dispatcher is at work. One call.

    Returns:
        Why there is none, as text for people; `None`: there is one, or the Lease can't be read.
    """
    try:
        lease = client.get_lease(labels.LEASE_NAME)
    except NotFoundError:
        lease = None
    except ClusterError:
        return None  # the caller has everything but this text
    return describe_leader_absence(lease, datetime.now(UTC))


def describe_leader_absence(lease: Json | None, now: datetime) -> str | None:
    """Say why no dispatcher is at work; `None`: one is.

    Args:
        lease: the Lease as it is now; `None`: there is none.
        now: by our clock.
    """
    if lease is None:
        return f"there is no Lease {labels.LEASE_NAME}"
    spec: dict[str, Any] = lease.get("spec") or {}
    if not spec.get("holderIdentity"):
        return f"nobody holds the Lease {labels.LEASE_NAME}"
    # Do not name the holder: callers need not know the names of pods.
    renewed_at = read_time(spec.get("renewTime"))
    if renewed_at is None:
        return f"the holder of the Lease {labels.LEASE_NAME} has never renewed it"
    silent_seconds = int(now.timestamp() - renewed_at / 1_000_000)
    if silent_seconds <= int(spec.get("leaseDurationSeconds") or 0) + _TOLERANCE_SECONDS:
        return None
    return f"the holder of the Lease {labels.LEASE_NAME} has not renewed it for {silent_seconds} s"
