"""Reading runs: what they are doing, and why they wait or failed."""

from app.cluster import keys
from app.cluster.attempts import read_attempt
from app.cluster.client import Json
from app.cluster.errors import NotFoundError
from app.cluster.names import is_id, job_name
from app.cluster.namespace import Namespace
from app.cluster.records import Phase, Run, is_run, place, read_run, read_workload
from app.dispatch.plan import explain
from app.dispatch.readiness import Readiness, judge, unready_dependencies
from app.services.definitions import Catalogue
from app.services.listing import Listing
from app.services.views import Waiting, build_view
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
        """
        run = read_run(job)
        if run.phase is Phase.QUEUED:
            return build_view(job, waiting=self._explain(run))
        return build_view(job, [*map(read_attempt, self._namespace.objects(self._namespace.pods_of(run.name)))])

    def _explain(self, run: Run) -> Waiting:
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

        cause, message = explain(
            run,
            admitted,
            self._catalogue.slots(),
            lambda depends_on: unready_dependencies(depends_on, judge_by_name),
        )
        return Waiting(ahead + 1, cause.value, message)
