"""How long runs take to start: measured from our own admission to the first sign of a pod that runs."""

from dataclasses import replace

import pytest

from app.dispatcher.start_latency import StartLatency
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


def test_start_latency__first_sign_of_a_start__counts_once() -> None:
    """However often it is shown."""
    clock = Clock()
    latency = StartLatency(clock)
    one = admitted("starts-once")
    latency.admitted(one)
    latency.observe(one)
    clock.now += 2.5
    for version in (2, 3):
        latency.observe(replace(one, started=True, resource_version=version))
    assert measured("starts-once") == (1, 2.5)


def test_start_latency__run_ends_unseen__counts_if_it_succeeded() -> None:
    """One that failed may never have started."""
    clock = Clock()
    latency = StartLatency(clock)
    for name, started in (("starts-succeeds", True), ("starts-fails", False)):
        one = admitted(name)
        latency.admitted(one)
        clock.now += 1
        latency.observe(replace(one, phase=Phase.FINISHED, started=started))
        latency.observe(replace(one, started=True))
    assert measured("starts-succeeds") == (1, 1)
    assert measured("starts-fails") == (0, 0)


@pytest.mark.parametrize("how", ["gone", "term is over", "admitted by another"])
def test_start_latency__unknown_start__is_not_measured(how: str) -> None:
    """And nothing of it is kept."""
    latency = StartLatency(Clock())
    one = admitted(f"starts-{how.replace(' ', '-')}")
    if how != "admitted by another":
        latency.admitted(one)
    if how == "gone":
        latency.forget(one.uid)
    if how == "term is over":
        latency.clear()
    latency.observe(replace(one, started=True, resource_version=9))
    assert measured(one.definition) == (0, 0)
