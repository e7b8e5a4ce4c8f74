"""Whether a healthy definition is served in time beside others, with the pauses of `Admissions`."""

from typing import Any

from app.dispatcher.admission_rules import SLOW_WRITERS, WRITERS
from app.kube.errors import UnavailableError
from tests.unit.dispatcher.leaders import Leader
from tests.unit.dispatcher.runs import make_run

HANG_SECONDS = 4.0
QUEUED_AT_SECONDS = 30.0
STEP_SECONDS = 0.05


def test_admissions__serve_a_healthy_definition_beside_forty_that_hang() -> None:
    """Their writes have no answer for 4 s each. A run that is queued later is sent within 250 ms."""
    hanging = [f"hanging{number}" for number in range(40)]
    runs = [make_run(100 * row + number, definition=name) for number, name in enumerate(hanging) for row in range(3)]
    leader = Leader(dict.fromkeys([*hanging, "ok"], 50), runs)
    in_flight: list[tuple[float, Any]] = []
    queued = False
    while leader.now_seconds < QUEUED_AT_SECONDS + 0.25:
        for until, write in [one for one in in_flight if one[0] <= leader.now_seconds]:
            in_flight.remove((until, write))
            leader.admissions.ended(write, UnavailableError("no answer in time"))
        if not queued and leader.now_seconds >= QUEUED_AT_SECONDS:
            queued = True
            leader.admissions.runs.put(make_run(999, definition="ok", version=2))
        leader.write_intent()
        while (
            len(in_flight) < WRITERS + SLOW_WRITERS
            and (write := leader.admissions.take_write(leader.slots)) is not None
        ):
            if write.definition == "ok":
                return
            in_flight.append((leader.now_seconds + HANG_SECONDS, write))
        leader.now_seconds += STEP_SECONDS
    raise AssertionError("the healthy definition's run was not sent")
