"""Reading runs, one or many: what they are doing, and why they are queued or have failed."""

import json
from collections.abc import Callable, Collection, Mapping

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.names import find_job_name, is_id
from app.domain.run import Phase, Run
from app.kube import labels
from app.kube.attempts import read_attempt
from app.kube.client import NamespacedClient
from app.kube.errors import NotFoundError
from app.kube.paging import ResourceSelector
from app.kube.parsing import is_run, read_run, started_by
from app.runs.abridged import abridge, measure
from app.runs.kueue_status import find_kueue_statuses
from app.runs.listing import Listing, Snapshot
from app.runs.pagination import MAX_RUNS_BYTES, ListQuery, QueueKey, RunPage
from app.runs.pending_reasons import explain_waiting
from app.runs.pod_events import PodEvents
from app.runs.run_status import awaits_pod_since, awaits_volumes, build_view
from schemas.run import RunView


class UnknownRunError(ServiceError):
    """The definition has no run of this id."""

    kind = ErrorKind.NOT_FOUND
    detail = "there is no such run"


class RunReader:
    """Reads the runs of a namespace.

    Args:
        client: of the namespace.
        slots: returns how many runs of each definition may be active.
    """

    def __init__(self, client: NamespacedClient, slots: Callable[[], Mapping[str, int]]) -> None:
        self._client = client
        self._slots = slots
        self._listing = Listing(client)
        self._pod_events = PodEvents(client)

    def get(self, definition: str, run_id: str) -> RunView:
        """Read a run of a definition.

        Raises:
            UnknownRunError: this definition has no such run. A Job that is not ours is no run.
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        return self.view(self.find(definition, run_id))

    def find(self, definition: str, run_id: str) -> Json:
        """Read the Job of a run.

        Raises:
            UnknownRunError: this definition has no such run. A Job that is not ours is no run.
            ClusterError: the call to the API server failed.
        """
        if not is_id(run_id):
            raise UnknownRunError(run_id)
        try:
            job = self._client.get_job(find_job_name(definition, run_id))
        except NotFoundError:
            raise UnknownRunError(run_id) from None
        if not is_run(job) or job["metadata"]["labels"][labels.DEFINITION_LABEL] != definition:
            raise UnknownRunError(run_id)
        return job

    def check_owner(self, definition: str, run_id: str, owner: str) -> None:
        """Check that a user has started a run. To anyone else the run does not exist.

        Args:
            definition: the definition's name.
            run_id: the run's id.
            owner: the user's name, as `write_user_name` writes it.

        Raises:
            UnknownRunError: this definition has no such run, or somebody else has started it.
            ClusterError: the call to the API server failed.
        """
        if started_by(self.find(definition, run_id)) != owner:
            raise UnknownRunError(run_id)

    def view(self, job: Json) -> RunView:
        """Make the view of a run from its Job, its pods and what keeps them from starting, or why it is queued.

        Raises:
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        run = read_run(job)
        if run.phase is not Phase.QUEUED:
            attempts = self.attempts_at(run)
            if run.awaits_kueue:
                return build_view(job, attempts, kueue=find_kueue_statuses(self._client, [run])[run.uid])
            view = build_view(job, attempts)
            if since := awaits_pod_since(view, job, attempts):
                refusal = self._pod_events.explain_refusal(run.uid, since)
                return build_view(job, attempts, pod_refusal=refusal) if refusal else view
            if attempt := awaits_volumes(view, attempts):
                failure = self._pod_events.explain_mount(attempt.pod, attempt.created_at)
                if failure:
                    told = attempt.without_volumes(failure)
                    return build_view(job, [told if one is attempt else one for one in attempts])
            return view
        queue = self._listing.queue_with(run)
        return build_view(job, waiting=explain_waiting(self._client, self._slots(), [run], queue)[run.uid])

    def attempts_at(self, run: Run) -> list[Attempt]:
        """Return the attempts at a run whose pods still exist; of very many, the last ones.

        Raises:
            ClusterError: the call to the API server failed.
        """
        return self._attempts(self._client.pods_of(run.name), [run.uid])[run.uid]

    def every_attempt_at(self, run: Run, container: str) -> list[Attempt]:
        """Return all attempts at a run whose pods still exist, from the first to the last, so that they can be counted.

        Args:
            run: the run.
            container: the name of the container that they are attempts of.

        Raises:
            ClusterError: the call to the API server failed.
        """
        pods = self._client.objects(self._client.pods_of(run.name))
        attempts = (read_attempt(pod, container) for pod in pods)
        return sort_attempts([attempt for attempt in attempts if attempt.owner == run.uid])

    def page(self, definition: str, list_query: ListQuery) -> RunPage:
        """List runs of a definition, abridged, as of at most a second ago.

        A page that is not kept costs one list of Jobs, one of pods, and a few calls about dependencies.

        Raises:
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        # The page is finished within the turn, so that the Jobs of one page at a time are in memory.
        with self._listing.turn(definition):
            page = self._listing.pages.get((definition, list_query))
            if page is None:
                page = self._make_page(definition, list_query, self._listing.read(definition, list_query))
                self._listing.pages.put((definition, list_query), page)
            return page

    def _make_page(self, definition: str, list_query: ListQuery, snapshot: Snapshot) -> RunPage:
        chosen = [(key, job, read_run(json.loads(job))) for key, job in snapshot.jobs]  # one at a time as an object
        queued = [run for _, _, run in chosen if run.phase is Phase.QUEUED]
        others = {run.uid: run.name for _, _, run in chosen if run.phase is not Phase.QUEUED}
        waiting = explain_waiting(self._client, self._slots(), queued, snapshot.queue)
        kueue = find_kueue_statuses(self._client, (run for _, _, run in chosen))
        attempts: dict[str, list[Attempt]] = {}
        if others:
            attempts = self._attempts(self._client.pods_of_some(definition, list(others.values())), others)
        shown: list[tuple[QueueKey, RunView]] = []
        size_bytes = 0
        for key, job, run in chosen:
            found = attempts.get(run.uid, ())
            view = abridge(build_view(json.loads(job), found, waiting.get(run.uid), kueue=kueue.get(run.uid)))
            if list_query.statuses and view.status not in list_query.statuses:
                continue
            size_bytes += measure(view)
            if shown and (len(shown) == list_query.limit or size_bytes > MAX_RUNS_BYTES):
                return RunPage(tuple(view for _, view in shown), shown[-1][0])
            shown.append((key, view))
        return RunPage(tuple(view for _, view in shown), chosen[-1][0] if snapshot.older_exist else None)

    def _attempts(self, pods: ResourceSelector, uids: Collection[str]) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = {uid: [] for uid in uids}
        for pod in self._client.objects(pods):
            attempt = read_attempt(pod)
            if attempt.owner in found:
                found[attempt.owner] = keep_last([*found[attempt.owner], attempt])
        return found
