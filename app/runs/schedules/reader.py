"""Reading schedules: the CronJobs of a definition that queue runs, wherever they come from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.names import cronjob_name, is_schedule_id
from app.kube.client import NamespacedClient
from app.kube.errors import NotFoundError
from app.kube.parsing import started_by
from app.kube.schedules import is_schedule_of
from app.runs.abridged import abridge
from app.runs.schedules.view import build_schedule_view, measure_schedule
from schemas.definition import Definition
from schemas.schedule_view import ScheduleView

MAX_LIST_BYTES = 256 * 1024
"""What the fields that callers fill may take in one list; of the schedules beyond that, they are left out."""


class UnknownScheduleError(ServiceError):
    """The definition has no schedule of this id."""

    kind = ErrorKind.NOT_FOUND
    detail = "there is no such schedule"


class ScheduleReader:
    """Reads the schedules of a namespace.

    Args:
        client: of the namespace.
        now: returns the time.
    """

    def __init__(self, client: NamespacedClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._now = now

    def find(self, definition: str, schedule_id: str, owner: str | None) -> Json:
        """Read the CronJob of a schedule.

        Args:
            definition: the definition's name.
            schedule_id: the schedule's id.
            owner: who must have made it, as `write_user_name` writes it; to anyone else it does not exist. `None`:
                anyone.

        Raises:
            UnknownScheduleError: this definition has no such schedule. One that is being deleted is none any more.
            ClusterError: the call to the API server failed.
        """
        if not is_schedule_id(schedule_id):
            raise UnknownScheduleError(schedule_id)
        try:
            cronjob = self._client.get_cronjob(cronjob_name(definition, schedule_id))
        except NotFoundError:
            raise UnknownScheduleError(schedule_id) from None
        if not _exists(cronjob, definition, owner):
            raise UnknownScheduleError(schedule_id)
        return cronjob

    def get(self, definition: Definition, schedule_id: str, owner: str | None) -> ScheduleView:
        """Read a schedule; see `find`."""
        return self.view(definition, self.find(definition.name, schedule_id, owner))

    def view(self, definition: Definition, cronjob: Json) -> ScheduleView:
        """Make the view of a schedule from its CronJob."""
        return build_schedule_view(cronjob, definition, self._now())

    def list(self, definition: Definition, owner: str | None) -> list[ScheduleView]:
        """List the schedules of a definition by their ids, abridged.

        Args:
            definition: the definition.
            owner: who must have made them; `None`: anyone.

        Raises:
            ClusterError: the call to the API server failed.
        """
        return sorted(self._abridged(definition, owner), key=lambda view: view.id)

    def _abridged(self, definition: Definition, owner: str | None) -> Iterator[ScheduleView]:
        size_bytes = 0
        for cronjob in self._client.objects(self._client.schedules_of(definition.name)):
            if not _exists(cronjob, definition.name, owner):
                continue
            view = abridge(self.view(definition, cronjob))
            size_bytes += measure_schedule(view)
            if size_bytes > MAX_LIST_BYTES:
                view = replace(
                    view,
                    args=None,
                    environments=(),
                    depends_on=(),
                    message="",
                    truncated=("Args", "Environments", "DependsOn", "Message"),
                )
            yield view


def _exists(cronjob: Json, definition: str, owner: str | None) -> bool:
    """Return whether a CronJob is a schedule of this definition that this caller may use."""
    return (
        is_schedule_of(cronjob, definition)
        and "deletionTimestamp" not in cronjob["metadata"]
        and owner in (None, started_by(cronjob))
    )
