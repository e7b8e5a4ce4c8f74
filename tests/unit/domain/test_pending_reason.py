"""Why a queued run waits, as a reason and as a sentence for people."""

import pytest

from app.domain.pending_reason import PendingReason, explain
from app.domain.readiness import Readiness
from app.domain.run import Phase, Run

RUN = Run("uid", "run", "a", 1, queued_at=0, depends_on=("db", "queue"), phase=Phase.QUEUED)
DB = Readiness("db", ready=False, detail="0 of 1 ready")
QUEUE = Readiness("queue", ready=False, detail="not found")


@pytest.mark.parametrize(
    ("unready", "admitted", "slots", "reason", "message"),
    [
        ([], 2, {"a": 2}, PendingReason.NO_FREE_SLOT, "waits for a slot: 2 of 2 in use"),
        ([], 3, {"a": 2}, PendingReason.NO_FREE_SLOT, "waits for a slot: 3 of 2 in use"),
        ([], 0, {"a": 2}, PendingReason.NOTHING, "about to start: 0 of 2 slots in use"),
        ([DB], 0, {"a": 2}, PendingReason.DEPENDENCIES_NOT_READY, "waits for db (0 of 1 ready)"),
        ([DB], 2, {"a": 2}, PendingReason.DEPENDENCIES_NOT_READY, "waits for db (0 of 1 ready)"),
        (
            [DB, QUEUE],
            0,
            {"a": 2},
            PendingReason.DEPENDENCIES_NOT_READY,
            "waits for db (0 of 1 ready), queue (not found)",
        ),
        ([], 0, {"b": 2}, PendingReason.DEFINITION_MISSING, "the configuration has no definition a any more"),
        ([DB], 0, {}, PendingReason.DEFINITION_MISSING, "the configuration has no definition a any more"),
    ],
)
def test_explain__names_a_missing_definition_then_dependencies_then_a_slot(
    unready: list[Readiness], admitted: int, slots: dict[str, int], reason: PendingReason, message: str
) -> None:
    assert explain(RUN, admitted, slots, unready) == (reason, message)
