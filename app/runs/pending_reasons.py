"""Why queued runs wait: their places, what their dependencies look like now, and whether anybody admits runs."""

from collections.abc import Collection, Mapping, Sequence

from app.domain.pending_reason import PendingReason, explain
from app.domain.readiness import Readiness, assess, unready_dependencies
from app.domain.run import Run
from app.domain.workload import Workload
from app.kube.client import NamespacedClient
from app.kube.parsing import read_workload
from app.runs.leader_status import NO_DISPATCHER, find_leader_absence
from app.runs.listing import Queue
from app.runs.run_status import QueuedStatus

_READ_BY_NAME = 4
"""Dependencies that are read one by one, with two calls each; more are found in a list of all workloads."""


def explain_waiting(
    client: NamespacedClient, slots: Mapping[str, int], runs: Sequence[Run], queue: Queue
) -> dict[str, QueuedStatus]:
    """Say why runs of one definition wait, by their uids.

    However many there are, and whatever they depend on, this costs no more than a few calls.

    Args:
        client: where they are.
        slots: by definition.
        runs: queued.
        queue: theirs.

    Raises:
        ClusterError: the API server can't be asked.
    """
    judged = _judge_all(client, {name for run in runs for name in run.depends_on or ()})
    told = {
        run.uid: explain(
            run, queue.admitted, slots, lambda depends_on: unready_dependencies(depends_on, judged.__getitem__)
        )
        for run in runs
    }
    # A run that waits for nothing is about to start only where somebody starts runs.
    waits_for_nothing = any(cause is PendingReason.NOTHING for cause, _ in told.values())
    leader_absence = find_leader_absence(client) if waits_for_nothing else None
    found = {}
    for run in runs:
        cause, message = told[run.uid]
        reason = cause.value
        if cause is PendingReason.NOTHING and leader_absence is not None:
            reason, message = NO_DISPATCHER, f"no dispatcher is at work: {leader_absence}"
        found[run.uid] = QueuedStatus(queue.position_of(run), reason, message)
    return found


def _judge_all(client: NamespacedClient, names: Collection[str]) -> dict[str, Readiness]:
    workloads: dict[str, list[Workload]] = {name: [] for name in names}
    if len(names) <= _READ_BY_NAME:
        for name in names:
            workloads[name] = [read_workload(kind, found) for kind, found in client.find_workloads(name)]
    else:
        for kind, collection in client.workloads.items():
            for found in client.objects(collection):
                if found["metadata"]["name"] in workloads:
                    workloads[found["metadata"]["name"]].append(read_workload(kind, found))
    return {name: assess(name, found) for name, found in workloads.items()}
