"""Why a queued run waits: pure decisions, for the dispatcher's Events and for whoever reads a run."""

from collections.abc import Mapping
from enum import Enum

from app.domain.readiness import Unready
from app.domain.run import DependsOn, Run


class PendingReason(Enum):
    """Why a queued run waits; the values are the reasons of its Events."""

    DEFINITION_MISSING = "DefinitionMissing"
    DEPENDENCIES_NOT_READY = "WaitingForDependencies"
    NO_FREE_SLOT = "WaitingForSlot"
    NOTHING = "Admissible"


def find_pending_reason(
    definition: str, depends_on: DependsOn, admitted: int, slots: Mapping[str, int], unready: Unready
) -> PendingReason:
    """The first thing that queued runs wait for; a slot comes last, for it goes to those that could use it."""
    if definition not in slots:
        return PendingReason.DEFINITION_MISSING
    if unready(depends_on):
        return PendingReason.DEPENDENCIES_NOT_READY
    return PendingReason.NO_FREE_SLOT if admitted >= slots[definition] else PendingReason.NOTHING


def explain(run: Run, admitted: int, slots: Mapping[str, int], unready: Unready) -> tuple[PendingReason, str]:
    """Say why a queued run waits.

    Args:
        run: queued.
        admitted: how many runs of its definition hold a slot.
        slots: by definition.
        unready: tells what runs wait for.

    Returns:
        The reason, and a sentence for people: each unready dependency with its counts, or the slots in use.
    """
    reason = find_pending_reason(run.definition, run.depends_on, admitted, slots, unready)
    limit = slots.get(run.definition, 0)
    match reason:
        case PendingReason.DEFINITION_MISSING:
            return reason, f"the configuration has no definition {run.definition} any more"
        case PendingReason.DEPENDENCIES_NOT_READY:
            details = ", ".join(f"{dependency.name} ({dependency.detail})" for dependency in unready(run.depends_on))
            return reason, f"waits for {details}"
        case PendingReason.NO_FREE_SLOT:
            return reason, f"waits for a slot: {admitted} of {limit} in use"
        case PendingReason.NOTHING:
            return reason, f"about to start: {admitted} of {limit} slots in use"
