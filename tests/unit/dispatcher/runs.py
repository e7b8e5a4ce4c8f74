"""Runs and queues for tests of pure decisions."""

from collections.abc import Collection, Sequence

from hypothesis import strategies as st

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.run_store import RunStore
from app.domain.readiness import Readiness, Unready
from app.domain.run import DependsOn, KueueFacts, PendingStart, Phase, Run

DEFINITIONS = ("a", "b", "c")
WORKLOADS = ("db", "queue")
DEPENDENCIES: tuple[DependsOn, ...] = ((), ("db",), ("queue",), ("db", "queue"), None)


def make_run(
    number: int,
    *,
    definition: str = "a",
    version: int = 1,
    queued_at: int | None = None,
    depends_on: DependsOn = (),
    phase: Phase = Phase.QUEUED,
    pending_start: PendingStart | None = None,
    created_at: int = 0,
    queue_deadline: int | None = None,
    schedule: str = "",
    local_queue: str = "",
) -> Run:
    """Make a run; the number is its uid, its name and, unless given, its time."""
    queued_at = number if queued_at is None else queued_at
    return Run(
        f"uid-{number}",
        f"run-{number:04}",
        definition,
        version,
        queued_at,
        depends_on,
        phase,
        pending_start,
        created_at=created_at,
        queue_timeout_seconds=None if queue_deadline is None else 60,
        queue_deadline=queue_deadline,
        requested_schedule=schedule if phase is Phase.QUEUED else "",
        kueue=KueueFacts(local_queue=local_queue),
    )


def store_of(runs: Sequence[Run], ready: Collection[str] = ()) -> RunStore:
    """A store that holds these runs, while these workloads are ready."""
    store = RunStore(ChangeSignal())
    for name in ready:
        store.set_ready(name, ready=True)
    store.replace(list(runs), 1)
    return store


def unready_from(ready: Collection[str]) -> Unready:
    """Tell what runs wait for when these workloads are ready."""

    def unready(depends_on: DependsOn) -> list[Readiness]:
        if depends_on is None:
            return [Readiness("?", ready=False, detail="?")]
        return [Readiness(name, ready=False, detail="0 of 1 ready") for name in depends_on if name not in ready]

    return unready


@st.composite
def populations(draw: st.DrawFn) -> list[Run]:
    """Runs of several definitions in all phases, many of them queued at the same time."""
    count = draw(st.integers(0, 25))
    return [
        make_run(
            number,
            definition=draw(st.sampled_from(DEFINITIONS)),
            queued_at=draw(st.integers(0, 5)),
            depends_on=draw(st.sampled_from(DEPENDENCIES)),
            phase=draw(st.sampled_from((Phase.QUEUED, Phase.QUEUED, Phase.QUEUED, Phase.ADMITTED, Phase.FINISHED))),
        )
        for number in range(count)
    ]
