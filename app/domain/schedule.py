"""Schedules: the CronJobs of ours as the leader sees them, as small records, and what it does about them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A CronJob that is a schedule.

    Attributes:
        name: the CronJob's name.
        uid: the CronJob's uid.
        resource_version: the CronJob's, as the API server writes it.
        definition: from its label.
        configured: whether the configuration asked for it; otherwise a request did.
        applied: what the service has written, as its annotation says.
        spec_digest: of the specification as it is, except whether it is suspended.
        suspended: whether no runs are made.
        edited_digest: of the specification that the leader has found edited; empty: none.
        refusal_noted: whether the leader has suspended it, because the definition does not allow it.
        being_deleted: whether its deletion has begun.
        wanted: for one that a request asked for: what the service would write now; empty: the definition does not
            allow it, or nobody knows whether it does.
        refusal: why the definition does not allow it; empty: it does, or nobody knows.
        judged_by: for one that a request asked for: the definition by which `wanted` and `refusal` were found, or
            where there was none, whether it was undecided if there is one.
    """

    name: str
    uid: str
    resource_version: str
    definition: str
    configured: bool
    applied: str
    spec_digest: str
    suspended: bool = False
    edited_digest: str = ""
    refusal_noted: bool = False
    being_deleted: bool = False
    wanted: str = ""
    refusal: str = ""
    judged_by: object = field(default=None, repr=False, compare=False)


class Step(Enum):
    """What the leader does about a schedule."""

    CREATE = "create"
    """Create the CronJob."""
    APPLY = "apply"
    """Write what is asked for: it is not what was written last."""
    CHECK = "check"
    """Find out whether somebody else has changed the CronJob."""
    SUSPEND = "suspend"
    """Suspend it, because the definition does not allow it any more."""
    REMOVE = "remove"
    """Delete it: the configuration does not ask for it."""


class Known(NamedTuple):
    """What the leader knows besides the CronJobs.

    Attributes:
        checked: what it has found unchanged by others: by name, what was written and the digest of what is there.
        deleted: CronJobs that somebody else has deleted, by name, with what was asked for then.
        is_undecided: whether it is unknown if there is a definition of a name.
    """

    checked: Mapping[str, tuple[str, str]]
    deleted: Mapping[str, str]
    is_undecided: Callable[[str], bool]


def plan_steps(
    wanted: Mapping[str, str], stored: Mapping[str, StoredSchedule], known: Known, waiting: Collection[str] = ()
) -> dict[str, Step]:
    """Decide what the leader does next, at most one step for each CronJob.

    Args:
        wanted: what the configuration asks for: by the CronJob's name, what would be written.
        stored: the schedules that exist, by the CronJob's name.
        known: see there.
        waiting: names that are left alone for now.
    """
    steps = {}
    for name in wanted.keys() | stored.keys():
        step = None if name in waiting else _plan_step(wanted.get(name), stored.get(name), name, known)
        if step is not None:
            steps[name] = step
    return steps


def _plan_step(wanted: str | None, stored: StoredSchedule | None, name: str, known: Known) -> Step | None:
    if stored is None:
        return None if wanted is None or known.deleted.get(name) == wanted else Step.CREATE
    if stored.being_deleted:
        return None
    if not stored.configured:
        if stored.refusal:
            return None if stored.suspended or stored.refusal_noted else Step.SUSPEND
        wanted = stored.wanted or None
        if wanted is None:
            return None
        if stored.refusal_noted:
            return Step.APPLY
    elif wanted is None:
        return None if known.is_undecided(stored.definition) else Step.REMOVE
    if stored.applied != wanted:
        return Step.APPLY
    if stored.edited_digest:
        return None if stored.edited_digest == stored.spec_digest else Step.CHECK
    return None if known.checked.get(name) == (wanted, stored.spec_digest) else Step.CHECK
