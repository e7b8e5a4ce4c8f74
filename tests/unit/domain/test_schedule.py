"""What the leader does about schedules: `app.domain.schedule`."""

from dataclasses import replace

import pytest

from app.domain.schedule import Known, Step, StoredSchedule, plan_steps

STORED = StoredSchedule("a-1", "uid", "7", "a", configured=True, applied="v1/unset", spec_digest="s1")
REQUESTED = replace(STORED, configured=False, wanted="v1/unset")
CHECKED = {"a-1": ("v1/unset", "s1")}


def steps_of(
    stored: StoredSchedule | None,
    wanted: str | None = "v1/unset",
    *,
    checked: dict[str, tuple[str, str]] | None = None,
    deleted: dict[str, str] | None = None,
    undecided: bool = False,
) -> Step | None:
    known = Known(CHECKED if checked is None else checked, deleted or {}, lambda _: undecided)
    asked_for = {} if wanted is None else {"a-1": wanted}
    found = plan_steps(asked_for, {} if stored is None else {"a-1": stored}, known)
    assert found.keys() <= {"a-1"}
    return found.get("a-1")


@pytest.mark.parametrize(
    ("stored", "wanted", "step"),
    [
        (None, "v1/unset", Step.CREATE),
        (None, None, None),
        (STORED, "v1/unset", None),
        (STORED, "v2/unset", Step.APPLY),
        (STORED, "v1/true", Step.APPLY),
        (STORED, None, Step.REMOVE),
        (replace(STORED, spec_digest="s2"), "v1/unset", Step.CHECK),
        (replace(STORED, spec_digest="s2", edited_digest="s2"), "v1/unset", None),
        (replace(STORED, spec_digest="s3", edited_digest="s2"), "v1/unset", Step.CHECK),
        (replace(STORED, edited_digest="s2"), "v1/unset", Step.CHECK),
        (replace(STORED, spec_digest="s2", edited_digest="s2"), "v2/unset", Step.APPLY),
        (replace(STORED, spec_digest="s2", edited_digest="s2"), None, Step.REMOVE),
        (replace(STORED, suspended=True), "v1/unset", None),
        (replace(STORED, being_deleted=True), "v2/unset", None),
        (replace(STORED, being_deleted=True), None, None),
        (REQUESTED, None, None),
        (replace(REQUESTED, wanted="v2/unset"), None, Step.APPLY),
        (replace(REQUESTED, spec_digest="s2"), None, Step.CHECK),
        (replace(REQUESTED, wanted="", refusal="no"), None, Step.SUSPEND),
        (replace(REQUESTED, wanted="", refusal="no", suspended=True), None, None),
        (replace(REQUESTED, wanted="", refusal="no", refusal_noted=True), None, None),
        (replace(REQUESTED, refusal_noted=True, suspended=True), None, Step.APPLY),
        (replace(REQUESTED, wanted=""), None, None),
    ],
)
def test_plan_steps__decides_by_what_is_asked_for_and_what_is_there(
    stored: StoredSchedule | None, wanted: str | None, step: Step | None
) -> None:
    assert steps_of(stored, wanted) is step


def test_plan_steps__checks_what_nobody_has_checked_in_this_term() -> None:
    assert steps_of(STORED, checked={}) is Step.CHECK


def test_plan_steps__leaves_out_what_somebody_has_deleted_until_it_is_asked_for_anew() -> None:
    assert steps_of(None, deleted={"a-1": "v1/unset"}) is None
    assert steps_of(None, deleted={"a-1": "v0/unset"}) is Step.CREATE


def test_plan_steps__leaves_schedules_alone_while_it_is_unknown_if_there_is_a_definition() -> None:
    assert steps_of(STORED, None, undecided=True) is None


def test_plan_steps__leaves_out_what_waits() -> None:
    assert plan_steps({"a-1": "v1/unset"}, {}, Known({}, {}, lambda _: False), {"a-1"}) == {}
