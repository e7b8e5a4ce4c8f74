"""Conditions in an object's status: a list with one entry per type."""

from datetime import datetime

from devcluster.objects import Object, to_time


def find_condition(status: Object, type_: str) -> Object | None:
    """Return the condition of a type; None when there is none."""
    return next((found for found in status.get("conditions") or () if found["type"] == type_), None)


def is_true(status: Object, type_: str) -> bool:
    """Return whether the condition exists and its status is True."""
    found = find_condition(status, type_)
    return found is not None and found["status"] == "True"


def put_condition(status: Object, condition: Object, now: datetime) -> None:
    """Add or replace a condition in place; `lastTransitionTime` changes only with the condition's status."""
    conditions: list[Object] = status.setdefault("conditions", [])
    old = find_condition(status, condition["type"])
    stays = old is not None and old["status"] == condition["status"]
    moment = old.get("lastTransitionTime") if old is not None and stays else None
    new = {**condition, "lastTransitionTime": moment or to_time(now)}
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new
