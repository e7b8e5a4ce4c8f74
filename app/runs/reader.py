"""Reading runs, one or many: what they are doing, and why they wait or failed."""

from collections.abc import Callable, Collection, Mapping

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.names import is_id, job_name
from app.domain.run import Phase, Run
from app.kube import labels
from app.kube.attempts import read_attempt
from app.kube.client import NamespacedClient
from app.kube.errors import NotFoundError
from app.kube.paging import ResourceSelector
from app.kube.parsing import is_run, read_run
from app.runs.listing import Listing, Queue
from app.runs.pagination import MAX_LIMIT, ListQuery, RunPage, TopN
from app.runs.pending_reasons import explain_waiting
from app.runs.run_status import ADMITTED_STATUSES, build_view, possible_statuses
from schemas.run import RunView


class UnknownRunError(ServiceError):
    """The definition has no run of this id."""

    kind = ErrorKind.NOT_FOUND
    detail = "there is no such run"


class RunReader:
    """The runs in the namespace.

    Args:
        client: where they are.
        slots: returns how many runs of each definition may be active.
    """

    def __init__(self, client: NamespacedClient, slots: Callable[[], Mapping[str, int]]) -> None:
        self._client = client
        self._slots = slots
        self._listing = Listing(client)

    def get(self, definition: str, run_id: str) -> RunView:
        """Read a run of a definition.

        Raises:
            UnknownRunError: this definition has no such run; a Job that isn't ours is none.
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        return self.view(self.find(definition, run_id))

    def find(self, definition: str, run_id: str) -> Json:
        """Read the Job of a run.

        Raises:
            UnknownRunError: this definition has no such run; a Job that isn't ours is none.
            ClusterError: the API server can't be asked.
        """
        if not is_id(run_id):
            raise UnknownRunError(run_id)
        try:
            job = self._client.get_job(job_name(definition, run_id))
        except NotFoundError:
            raise UnknownRunError(run_id) from None
        if not is_run(job) or job["metadata"]["labels"][labels.DEFINITION_LABEL] != definition:
            raise UnknownRunError(run_id)
        return job

    def view(self, job: Json) -> RunView:
        """Make the view of a run, with what its pods tell, or what it waits for.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        run = read_run(job)
        if run.phase is not Phase.QUEUED:
            return build_view(job, self.attempts_at(run))
        queue = self._listing.queue_with(run)
        return build_view(job, waiting=explain_waiting(self._client, self._slots(), [run], queue)[run.uid])

    def attempts_at(self, run: Run) -> list[Attempt]:
        """The attempts at a run whose pods are still there; of very many, the last ones.

        Raises:
            ClusterError: the API server can't be asked.
        """
        return self._attempts(self._client.pods_of(run.name), [run.uid])[run.uid]

    def every_attempt_at(self, run: Run) -> list[Attempt]:
        """All attempts at a run whose pods are still there, from the first to the last, so that they can be counted.

        Raises:
            ClusterError: the API server can't be asked.
        """
        attempts = map(read_attempt, self._client.objects(self._client.pods_of(run.name)))
        return sort_attempts([attempt for attempt in attempts if attempt.owner == run.uid])

    def page(self, definition: str, list_query: ListQuery) -> RunPage:
        """List runs of a definition; this costs one list of Jobs, one of pods, and a few calls about dependencies.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        # Which of these a run has is for its pods to tell, so there must be some to choose among.
        undecided = list_query.statuses & ADMITTED_STATUSES not in (frozenset(), ADMITTED_STATUSES)

        def may_match(job: Json, run: Run) -> bool:
            return not list_query.statuses or not list_query.statuses.isdisjoint(possible_statuses(job, run))

        def finish(top: TopN, queue: Queue) -> RunPage:
            return self._finish(definition, list_query, top, queue)

        return self._listing.page(
            definition, list_query, MAX_LIMIT if undecided else list_query.limit, may_match, finish
        )

    def _finish(self, definition: str, list_query: ListQuery, top: TopN, queue: Queue) -> RunPage:
        chosen = [(place, job, read_run(job)) for place, job in top.jobs()]
        waiting = [run for _, _, run in chosen if run.phase is Phase.QUEUED]
        others = {run.uid: run.name for _, _, run in chosen if run.phase is not Phase.QUEUED}
        causes = explain_waiting(self._client, self._slots(), waiting, queue)
        attempts: dict[str, list[Attempt]] = {}
        if others:
            attempts = self._attempts(self._client.pods_of_some(definition, list(others.values())), others)
        views = [
            (place, view)
            for place, job, run in chosen
            if (view := build_view(job, attempts.get(run.uid, ()), causes.get(run.uid)))
            and (not list_query.statuses or view.status in list_query.statuses)
        ]
        runs = tuple(view for _, view in views[: list_query.limit])
        if len(views) > list_query.limit:
            return RunPage(runs, views[list_query.limit - 1][0])
        return RunPage(runs, chosen[-1][0] if top.left_some_out else None)

    def _attempts(self, pods: ResourceSelector, uids: Collection[str]) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = {uid: [] for uid in uids}
        for pod in self._client.objects(pods):
            attempt = read_attempt(pod)
            if attempt.owner in found:
                found[attempt.owner] = keep_last([*found[attempt.owner], attempt])
        return found
