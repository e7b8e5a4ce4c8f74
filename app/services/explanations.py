"""Why queued runs wait: their places, what their dependencies look like now, and whether anybody admits runs."""

from collections.abc import Collection, Mapping, Sequence

from app.cluster.namespace import Namespace
from app.cluster.records import Run, Workload, read_workload
from app.dispatch.plan import Cause, explain
from app.dispatch.readiness import Readiness, judge, unready_dependencies
from app.services.absence import NO_DISPATCHER, find_absence
from app.services.listing import Queue
from app.services.views import Waiting

_READ_BY_NAME = 4
"""Dependencies that are read one by one, with two calls each; more are found in a list of all workloads."""


def explain_all(
    namespace: Namespace, slots: Mapping[str, int], runs: Sequence[Run], queue: Queue
) -> dict[str, Waiting]:
    """Say why runs of one definition wait, by their uids.

    However many there are, and whatever they depend on, this costs no more than a few calls.

    Args:
        namespace: where they are.
        slots: by definition.
        runs: queued.
        queue: theirs.

    Raises:
        ClusterError: the API server can't be asked.
    """
    judged = _judge_all(namespace, {name for run in runs for name in run.depends_on or ()})
    told = {
        run.uid: explain(
            run, queue.admitted, slots, lambda depends_on: unready_dependencies(depends_on, judged.__getitem__)
        )
        for run in runs
    }
    # A run that waits for nothing is about to start only where somebody starts runs.
    waits_for_nothing = any(cause is Cause.NOTHING for cause, _ in told.values())
    absence = find_absence(namespace) if waits_for_nothing else None
    found = {}
    for run in runs:
        cause, message = told[run.uid]
        reason = cause.value
        if cause is Cause.NOTHING and absence is not None:
            reason, message = NO_DISPATCHER, f"no dispatcher is at work: {absence}"
        found[run.uid] = Waiting(queue.position_of(run), reason, message)
    return found


def _judge_all(namespace: Namespace, names: Collection[str]) -> dict[str, Readiness]:
    workloads: dict[str, list[Workload]] = {name: [] for name in names}
    if len(names) <= _READ_BY_NAME:
        for name in names:
            workloads[name] = [read_workload(kind, found) for kind, found in namespace.find_workloads(name)]
    else:
        for kind, collection in namespace.workloads.items():
            for found in namespace.objects(collection):
                if found["metadata"]["name"] in workloads:
                    workloads[found["metadata"]["name"]].append(read_workload(kind, found))
    return {name: judge(name, found) for name, found in workloads.items()}
