"""What a run waited for that was queued for too long."""

from dataclasses import replace

import pytest

from app.dispatcher.queue_timeout_enforcer import describe_wait
from app.domain.run import DependsOn, Phase
from tests.unit.dispatcher.runs import make_run, store_of

WAITED = "was queued for longer than its QueueTimeoutSeconds (60 s)"


@pytest.mark.parametrize(
    ("definition", "depends_on", "expected"),
    [
        ("gone", (), "; the configuration has no definition gone any more"),
        ("a", None, "; the list of its dependencies can't be read"),
        ("a", ("db", "queue"), "; queue was not ready"),
        ("a", ("db",), "; no slot was free"),
        ("b", ("db",), ""),
    ],
)
def test_describe_wait__names_the_first_thing_that_a_run_waited_for(
    definition: str, depends_on: DependsOn, expected: str
) -> None:
    waiting = make_run(1, definition=definition, depends_on=depends_on, queue_deadline=1)
    store = store_of([waiting, make_run(2, definition="a", phase=Phase.ADMITTED)], ready=["db"])
    assert describe_wait(store, waiting, {"a": 1, "b": 1}) == WAITED + expected


def test_queue_deadlines__follow_a_run_that_changes() -> None:
    """Also while the dispatcher leaves it out of its choice."""
    run = make_run(1, queue_deadline=5)
    store = store_of([run])
    store.park(run.uid)

    def overdue(now: int) -> list[str]:
        return [run.uid for run in store.overdue(now)]

    assert overdue(4) == []
    assert overdue(5) == [run.uid]
    store.put(replace(run, resource_version=2, queue_deadline=9))
    assert overdue(5) == []
    store.put(replace(run, resource_version=3, queue_deadline=None, held=True))
    assert overdue(99) == []
    store.put(replace(run, resource_version=4))
    store.unpark(run.uid)
    assert overdue(5) == [run.uid]
    store.put(replace(run, resource_version=5, queue_deadline=None, phase=Phase.ADMITTED))
    assert overdue(99) == []
