"""How long runs take to start: measured from our own admission to the first sign of a pod that runs."""

from dataclasses import replace

import pytest

from app.dispatcher.stopwatch import Starts, Watched
from app.dispatcher.tables import Changes, RunTable
from app.domain.run import Phase, Run
from app.telemetry.metrics import REGISTRY
from tests.support.clock import Clock
from tests.unit.dispatcher.runs import make_run


def measured(name: str) -> tuple[float, float]:
    """How many runs of a definition were measured, and the sum of their seconds."""
    found = (
        REGISTRY.get_sample_value(f"slimfaas_jobs_starting_seconds_{part}", {"definition": name})
        for part in ("count", "sum")
    )
    count, total = (value or 0.0 for value in found)
    return count, total


def admitted(name: str) -> Run:
    return replace(make_run(1, definition=name), phase=Phase.ADMITTED)


def test_the_first_sign_counts_once() -> None:
    """However often it is shown."""
    clock = Clock()
    starts = Starts(clock)
    table = Watched(starts, RunTable(Changes()))
    one = admitted("starts-once")
    starts.admitted(one)
    table.put(one)
    clock.now += 2.5
    for version in (2, 3):
        table.put(replace(one, started=True, resource_version=version))
    assert measured("starts-once") == (1, 2.5)


def test_a_run_that_is_over_before_anybody_saw_it_run_counts_if_it_succeeded() -> None:
    """One that failed may never have started."""
    clock = Clock()
    starts = Starts(clock)
    for name, started in (("starts-succeeds", True), ("starts-fails", False)):
        one = admitted(name)
        starts.admitted(one)
        clock.now += 1
        starts.see(replace(one, phase=Phase.FINISHED, started=started))
        starts.see(replace(one, started=True))
    assert measured("starts-succeeds") == (1, 1)
    assert measured("starts-fails") == (0, 0)


@pytest.mark.parametrize("how", ["removed", "gone from the list", "admitted by another"])
def test_what_can_not_be_known_is_not_measured(how: str) -> None:
    """And nothing of it is kept."""
    starts = Starts(Clock())
    table = Watched(starts, RunTable(Changes()))
    one = admitted(f"starts-{how.replace(' ', '-')}")
    if how != "admitted by another":
        starts.admitted(one)
    if how == "removed":
        table.remove(one)
    if how == "gone from the list":
        table.replace([])
    table.put(replace(one, started=True, resource_version=9))
    assert measured(one.definition) == (0, 0)
