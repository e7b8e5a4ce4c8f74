"""Why queued runs wait: their positions, the state of their dependencies, and whether a dispatcher is at work."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from app.common.types import Json
from app.domain.pending_reason import SCHEDULE_REFUSED_MESSAGE, PendingReason, explain
from app.domain.readiness import Readiness, assess, unready_dependencies
from app.domain.run import Run
from app.domain.workload import Workload
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ForbiddenError, NotFoundError
from app.kube.parsing import read_workload
from app.runs.leader_status import NO_DISPATCHER, find_leader_absence
from app.runs.listing import Queue
from app.runs.run_status import QueuedStatus

_READ_BY_NAME = 4
"""Up to this many dependencies are read one by one, with two calls each. More are found in a list of all workloads."""


def explain_waiting(
    client: NamespacedClient, slots: Mapping[str, int], runs: Sequence[Run], queue: Queue
) -> dict[str, QueuedStatus]:
    """Say why queued runs of one definition wait, by their uids.

    This costs no more than a few calls, however many runs there are and whatever they depend on.

    Args:
        client: of the namespace that the runs are in.
        slots: by definition.
        runs: queued.
        queue: the queue that they are in.

    Raises:
        ClusterError: the call to the API server failed.
    """
    readiness = _assess_all(client, {name for run in runs for name in run.depends_on or ()})
    reasons = {
        run.uid: explain(run, queue.admitted, slots, unready_dependencies(run.depends_on, readiness)) for run in runs
    }
    # A run that waits for nothing is about to start, but only if there is a dispatcher.
    waits_for_nothing = any(reason is PendingReason.NOTHING for reason, _ in reasons.values())
    leader_absence = find_leader_absence(client) if waits_for_nothing else None
    refused = _find_refused_schedules(client, [run for run in runs if reasons[run.uid][0] in _MAY_BE_REFUSED])
    found = {}
    for run in runs:
        reason, message = reasons[run.uid]
        if run.requested_schedule in refused:
            reason, message = PendingReason.SCHEDULE_REFUSED, SCHEDULE_REFUSED_MESSAGE
        word = reason.value
        if reason is PendingReason.NOTHING and leader_absence is not None:
            word, message = NO_DISPATCHER, f"no dispatcher is at work: {leader_absence}"
        found[run.uid] = QueuedStatus(queue.position_of(run), word, message)
    return found


_MAY_BE_REFUSED = (PendingReason.NOTHING, PendingReason.NO_FREE_SLOT)


def _find_refused_schedules(client: NamespacedClient, runs: Sequence[Run]) -> frozenset[str]:
    """Return the CronJobs of these runs' schedules that the leader has found refused.

    Without the right to read CronJobs, none.
    """
    names = {run.requested_schedule for run in runs} - {""}
    if not names:
        return frozenset()
    cronjobs: Iterable[Json] = client.objects(client.schedules_of(runs[0].definition))
    if len(names) <= _READ_BY_NAME:
        cronjobs = _read_existing(client, names)
    try:
        return frozenset(
            cronjob["metadata"]["name"]
            for cronjob in cronjobs
            if labels.SCHEDULE_REFUSED_ANNOTATION in (cronjob["metadata"].get("annotations") or {})
        )
    except ForbiddenError:
        return frozenset()


def _read_existing(client: NamespacedClient, names: Iterable[str]) -> Iterator[Json]:
    for name in names:
        with suppress(NotFoundError):
            yield client.get_cronjob(name)


def _assess_all(client: NamespacedClient, names: Collection[str]) -> dict[str, Readiness]:
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
