"""Reading runs, one or many: what they are doing, and why they wait or failed."""

from collections.abc import Collection

from app.cluster import keys
from app.cluster.attempts import Attempt, keep_last, read_attempt, sort_attempts
from app.cluster.client import Json
from app.cluster.errors import NotFoundError
from app.cluster.names import is_id, job_name
from app.cluster.namespace import Namespace
from app.cluster.paging import Collection as Objects
from app.cluster.records import Phase, Run, is_run, read_run
from app.services.definitions import Catalogue
from app.services.explanations import explain_all
from app.services.listing import Listing, Queue
from app.services.pages import MAX_LIMIT, Newest, Page, Wanted
from app.services.views import ADMITTED_STATUSES, build_view, possible_statuses
from schemas.run import RunView


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
            job = self._namespace.get_job(job_name(definition, run_id))
        except NotFoundError:
            raise UnknownRunError(run_id) from None
        if not is_run(job) or job["metadata"]["labels"][keys.DEFINITION_LABEL] != definition:
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
        return build_view(job, waiting=explain_all(self._namespace, self._catalogue.slots(), [run], queue)[run.uid])

    def attempts_at(self, run: Run) -> list[Attempt]:
        """The attempts at a run whose pods are still there; of very many, the last ones.

        Raises:
            ClusterError: the API server can't be asked.
        """
        return self._attempts(self._namespace.pods_of(run.name), [run.uid])[run.uid]

    def every_attempt_at(self, run: Run) -> list[Attempt]:
        """All attempts at a run whose pods are still there, from the first to the last, so that they can be counted.

        Raises:
            ClusterError: the API server can't be asked.
        """
        attempts = map(read_attempt, self._namespace.objects(self._namespace.pods_of(run.name)))
        return sort_attempts([attempt for attempt in attempts if attempt.owner == run.uid])

    def page(self, definition: str, wanted: Wanted) -> Page:
        """List runs of a definition; this costs one list of Jobs, one of pods, and a few calls about dependencies.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        # Which of these a run has is for its pods to tell, so there must be some to choose among.
        undecided = wanted.statuses & ADMITTED_STATUSES not in (frozenset(), ADMITTED_STATUSES)

        def may_be_wanted(job: Json, run: Run) -> bool:
            return not wanted.statuses or not wanted.statuses.isdisjoint(possible_statuses(job, run))

        def finish(newest: Newest, queue: Queue) -> Page:
            return self._finish(definition, wanted, newest, queue)

        return self._listing.page(definition, wanted, MAX_LIMIT if undecided else wanted.limit, may_be_wanted, finish)

    def _finish(self, definition: str, wanted: Wanted, newest: Newest, queue: Queue) -> Page:
        chosen = [(place, job, read_run(job)) for place, job in newest.jobs()]
        waiting = [run for _, _, run in chosen if run.phase is Phase.QUEUED]
        others = {run.uid: run.name for _, _, run in chosen if run.phase is not Phase.QUEUED}
        causes = explain_all(self._namespace, self._catalogue.slots(), waiting, queue)
        attempts: dict[str, list[Attempt]] = {}
        if others:
            attempts = self._attempts(self._namespace.pods_of_some(definition, list(others.values())), others)
        views = [
            (place, view)
            for place, job, run in chosen
            if (view := build_view(job, attempts.get(run.uid, ()), causes.get(run.uid)))
            and (not wanted.statuses or view.status in wanted.statuses)
        ]
        runs = tuple(view for _, view in views[: wanted.limit])
        if len(views) > wanted.limit:
            return Page(runs, views[wanted.limit - 1][0])
        return Page(runs, chosen[-1][0] if newest.left_some_out else None)

    def _attempts(self, pods: Objects, uids: Collection[str]) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = {uid: [] for uid in uids}
        for pod in self._namespace.objects(pods):
            attempt = read_attempt(pod)
            if attempt.owner in found:
                found[attempt.owner] = keep_last([*found[attempt.owner], attempt])
        return found
