"""Kubernetes Events on the CronJobs of schedules: what others have done to them, and why one makes no runs."""

import logging

from app.common.outage_logger import OutageLogger
from app.domain.schedule import StoredSchedule
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.cronjob_warnings import warn_about_cronjob
from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_EDITED = (
    "somebody has edited it; it is left as it is until the schedule or its definition changes. To undo the edit, "
    f"remove its annotation {labels.SCHEDULE_APPLIED_ANNOTATION}"
)
_DELETED = (
    "somebody has deleted it; it is made again when the schedule or its definition changes, or by the next leader. To "
    "end a schedule, remove it from the configuration; to pause one, suspend it"
)
_TAKEN = "it has the name of a schedule, and was not made by this service; rename it, so that the schedule can be made"


class ScheduleEvents:
    """Writes what people should know of the CronJobs of schedules into the log, and as an Event, each thing once.

    Args:
        client: of the namespace.
        instance: of this process.
    """

    def __init__(self, client: NamespacedClient, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._outage = OutageLogger(log, "Events on schedules can't be written")

    def tell_edit(self, stored: StoredSchedule) -> None:
        """Tell that somebody has edited the CronJob of a schedule."""
        self._tell(stored.name, stored.uid, "ScheduleEdited", _EDITED, stored.spec_digest)

    def tell_deletion(self, stored: StoredSchedule) -> None:
        """Tell that somebody has deleted the CronJob of a schedule."""
        self._tell(stored.name, stored.uid, "ScheduleDeleted", _DELETED, stored.applied)

    def tell_refusal(self, stored: StoredSchedule) -> None:
        """Tell that its definition does not allow a request's schedule any more."""
        message = f"it makes no runs until its definition allows it again: {stored.refusal}"
        self._tell(stored.name, stored.uid, "ScheduleRefused", message, stored.refusal)

    def tell_name_taken(self, name: str, uid: str, applied: str) -> None:
        """Tell that a CronJob of somebody else has the name of a schedule's.

        Args:
            name: of both.
            uid: of the CronJob that is there.
            applied: what the schedule asks for (`Target.applied`).
        """
        self._tell(name, uid, "ScheduleNameTaken", _TAKEN, applied)

    def _tell(self, name: str, uid: str, reason: str, message: str, mark: str) -> None:
        """Log it, and write an Event, unless there is one of the same uid, reason and mark."""
        log.warning("the CronJob %s of a schedule: %s (%s)", name, message, reason)
        try:
            warn_about_cronjob(
                self._client,
                self._instance,
                name=name,
                uid=uid,
                reason=reason,
                message=message,
                mark=f"{reason} {mark}",
            )
            self._outage.recovered()
        except ClusterError as error:
            self._outage.failed(error)
