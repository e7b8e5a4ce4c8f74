"""Reading a run: what it is doing, and why it waits or failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.cluster import keys
from app.cluster.client import Json
from app.cluster.errors import NotFoundError
from app.cluster.names import id_in, is_id, job_name
from app.cluster.namespace import Namespace
from app.cluster.records import Phase, Run, is_run, place, read_run, read_time, read_workload, terminal_condition
from app.dispatch.plan import explain
from app.dispatch.readiness import Readiness, judge, unready_dependencies
from app.services.definitions import Catalogue
from app.services.listing import Listing
from schemas.run import RunView, Status

_PULL_FAILURES = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


class UnknownRunError(Exception):
    """The definition has no run of this id."""


class Runs:
    """The runs in the namespace.

    Args:
        namespace: where they are.
        catalogue: how many slots each definition has.
    """

    def __init__(self, namespace: Namespace, catalogue: Catalogue) -> None:
        self._namespace = namespace
        self._catalogue = catalogue
        self._listing = Listing(namespace)

    def get(self, definition: str, run_id: str) -> RunView:
        """Read a run of a definition.

        Raises:
            UnknownRunError: this definition has no such run; a Job that isn't ours is none.
            ClusterError: the API server can't be asked.
        """
        return self.show(self.find(definition, run_id))

    def find(self, definition: str, run_id: str) -> Json:
        """Read the Job that is a run of a definition; raises as `get` does."""
        if not is_id(run_id):
            raise UnknownRunError(run_id)
        try:
            job = self._namespace.get_job(job_name(definition, run_id))
        except NotFoundError:
            raise UnknownRunError(run_id) from None
        if not is_run(job) or job["metadata"]["labels"][keys.DEFINITION_LABEL] != definition:
            raise UnknownRunError(run_id)
        return job

    def show(self, job: Json) -> RunView:
        """Say what a run is doing, as its Job was read, and why it waits or failed.

        Raises:
            ClusterError: the API server can't be asked for what else there is to know.
        """
        run = read_run(job)
        match run.phase:
            case Phase.QUEUED:
                position, message = self._explain(run)
                return _view(job, run, Status.QUEUED, message=message, position_in_queue=position)
            case Phase.ADMITTED:
                status, message = status_of_pods(list(self._namespace.objects(self._namespace.pods_of(run.name))))
                return _view(job, run, status, message=message)
            case _:
                status, message = _ending(job)
                return _view(job, run, status, message=message)

    def _explain(self, run: Run) -> tuple[int, str]:
        """The place of a queued run in its definition's queue, and why it waits."""
        others = self._listing.beside(run)
        ahead = sum(other.phase is Phase.QUEUED and place(other) < place(run) for other in others)
        admitted = sum(other.phase is Phase.ADMITTED for other in others)
        judged: dict[str, Readiness] = {}

        def judge_by_name(name: str) -> Readiness:
            if name not in judged:
                found = self._namespace.find_workloads(name)
                judged[name] = judge(name, [read_workload(kind, workload) for kind, workload in found])
            return judged[name]

        _, message = explain(
            run,
            admitted,
            self._catalogue.slots(),
            lambda depends_on: unready_dependencies(depends_on, judge_by_name),
        )
        return ahead + 1, message


def _view(job: Json, run: Run, status: Status, *, message: str, position_in_queue: int = -1) -> RunView:
    job_status: Json = job.get("status") or {}
    ended = terminal_condition(job) or {}
    return RunView(
        id=id_in(run.name),
        name=run.name,
        status=status,
        position_in_queue=position_in_queue,
        in_queue_timestamp=run.queued_at // 1000,
        start_timestamp=_milliseconds(job_status.get("startTime")),
        end_timestamp=_milliseconds(job_status.get("completionTime") or ended.get("lastTransitionTime")),
        message=message,
    )


def _milliseconds(text: str | None) -> int:
    moment = read_time(text)
    return -1 if moment is None else moment // 1000


def _ending(job: Json) -> tuple[Status, str]:
    ended = terminal_condition(job)
    if ended is None:  # deleted before it started, and not gone yet
        return Status.QUEUED, "is being deleted"
    if ended["type"] == "Complete":
        return Status.SUCCEEDED, ""
    return Status.FAILED, ": ".join(part for part in (ended.get("reason"), ended.get("message")) if part)


def status_of_pods(pods: Sequence[Mapping[str, Any]]) -> tuple[Status, str]:
    """What an admitted run is doing, by its pods: the furthest that any of them has come.

    A failed pod is no failed run: while retries remain, the next pod is yet to come.
    """
    message = ""
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") == "Running":
            return Status.RUNNING, ""
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _PULL_FAILURES:
                return Status.IMAGE_PULL_BACK_OFF, waiting.get("message") or str(waiting["reason"])
            message = message or str(waiting.get("message") or waiting.get("reason") or "")
    return Status.PENDING, message
