"""Warnings about CronJobs, as Kubernetes Events."""

import logging
from datetime import UTC, datetime
from hashlib import sha256

from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError
from app.kube.manifests import build_event

log = logging.getLogger(__name__)


def warn_about_cronjob(
    client: NamespacedClient, reporter: str, *, name: str, uid: str, reason: str, message: str, mark: str
) -> None:
    """Write an Event on a CronJob, unless there is one of the same uid and mark.

    The Event's name is made of them, so another leader, or this one after a restart, writes no second one.

    Args:
        client: of the namespace.
        reporter: see `build_event`.
        name: of the CronJob.
        uid: of the CronJob.
        reason: see `build_event`.
        message: see `build_event`.
        mark: what the Event tells.

    Raises:
        ClusterError: the Event was not stored, or it is not known whether it was.
    """
    digest = sha256(f"{uid} {mark}".encode()).hexdigest()[:16]
    event = build_event(
        name=f"{name}.{digest}",
        namespace=client.name,
        about=name,
        about_kind="CronJob",
        uid=uid,
        reason=reason,
        message=message,
        kind="Warning",
        at=datetime.now(UTC),
        reporter=reporter,
    )
    try:
        client.create_event(event)
    except AlreadyExistsError:
        log.debug("the Event %s on the CronJob %s is there already", reason, name)
