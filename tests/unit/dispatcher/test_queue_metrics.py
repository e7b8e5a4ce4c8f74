"""The metrics of the queue."""

from dataclasses import replace

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.queue_metrics import QueueMetrics
from app.dispatcher.run_store import RunStore
from app.domain.run import Phase
from app.telemetry.exposition import write_metrics
from tests.support.clock import Clock
from tests.support.metrics import Scrape
from tests.unit.dispatcher.runs import make_run


def scrape(*names: str, hidden: tuple[str, ...] = ()) -> Scrape:
    return Scrape(write_metrics("", names, hidden).content.decode())


def store(*runs: object) -> tuple[RunStore, ChangeSignal]:
    signal = ChangeSignal()
    found = RunStore(signal)
    for number, one in enumerate(runs):
        found.put(replace(one, uid=f"u{number}"))  # type: ignore[type-var]
    return found, signal


def test_queue_metrics__show_the_queue_by_definition_while_it_is_known() -> None:
    """Queued, active, slots and the age of the first; a definition that is gone counts as unknown."""
    clock = Clock()
    runs, signal = store(
        make_run(1, definition="a", queued_at=990_000_000),
        make_run(2, definition="a", queued_at=995_000_000, depends_on=("x",)),
        replace(make_run(3, definition="a", queued_at=1), phase=Phase.ADMITTED),
        make_run(4, definition="b", queued_at=999_000_000),
        make_run(5, definition="gone", queued_at=900_000_000),
    )
    shown = QueueMetrics(signal, clock, clock)
    try:
        shown.show(runs, {"a": 2, "b": 1, "c": 1}, 1)
        found = scrape("a", "b", "c")
        assert [found.value("queued_runs", definition=name) for name in ("a", "b", "c", "(unknown)")] == [2, 1, 0, 1]
        assert [found.value("active_runs", definition=name) for name in ("a", "b")] == [1, 0]
        assert [found.value("slots", definition=name) for name in ("a", "b", "c")] == [2, 1, 1]
        assert [found.value("oldest_queued_seconds", definition=name) for name in ("a", "b", "c")] == [10, 1, 0]
        assert found.value("oldest_queued_seconds", definition="(unknown)") == 100
        assert found.value("runs_in_doubt") == 1
        assert found.value("dispatcher_leading") == 1

        hiding = scrape("a", "b", "c", hidden=("a", "b"))
        assert hiding.value("queued_runs", definition="(private)") == 3
        assert hiding.value("oldest_queued_seconds", definition="(private)") == 10

        shown.show(runs, {}, 0)  # too soon after the last
        assert scrape("a").value("slots", definition="a") == 2
        clock.now += 1
        shown.show(runs, {"b": 1}, 0)  # a has been removed from the configuration
        after = scrape("b")
        assert after.labels("definition") == {"b", "(unknown)"}
        assert after.value("queued_runs", definition="(unknown)") == 3
    finally:
        shown.clear()
    following = scrape("a", "b", "c")
    assert following.value("dispatcher_leading") == 0
    assert "slimfaas_jobs_queued_runs" not in following.names
    assert "slimfaas_jobs_runs_in_doubt" not in following.names
