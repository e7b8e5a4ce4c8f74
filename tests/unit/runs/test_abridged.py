"""Runs as a list shows them."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from app.kube.manifests import escape
from app.runs.abridged import MAX_FIELD_LENGTH, abridge, measure, trim_job
from app.runs.run_status import build_view
from benchmarks.target import build_sample
from schemas.run import RunSchema, RunView, Status

TEXTS = st.lists(
    st.text(max_size=3) | st.integers(0, 2000).map(lambda length: "$<\u00e9"[length % 3] * length), max_size=4
)


def view_of(**fields: tuple[str, ...] | None) -> RunView:
    return RunView(id="a", name="b", status=Status.QUEUED, in_queue_timestamp=1, image="c", **fields)


def test_abridge__leaves_a_usual_run_as_it_is() -> None:
    """Nothing is marked."""
    view = view_of(args=("42", ""), environments=("A", "B"), depends_on=None)
    assert abridge(view) is view
    assert view.truncated == ()


def test_abridge__cuts_long_fields_and_names_them() -> None:
    """As much is shown of all texts of a field together."""
    view = abridge(view_of(args=("a", "$" * 65_000, "b"), environments=("X" * 60_000,), depends_on=("w" * 250,) * 8))
    assert view.args == ("a", "$" * (MAX_FIELD_LENGTH - 2))
    assert view.environments == ("X" * MAX_FIELD_LENGTH,)
    assert view.depends_on is not None
    assert sum(map(len, view.depends_on)) <= MAX_FIELD_LENGTH
    assert view.truncated == ("Args", "Environments", "DependsOn")
    assert measure(view) < 6000


def test_abridge__cuts_a_field_of_very_many_short_texts() -> None:
    """Each takes room of its own."""
    view = abridge(view_of(args=("",) * 20_000))
    assert view.args is not None
    assert len(view.args) == MAX_FIELD_LENGTH
    assert view.truncated == ("Args",)


@given(TEXTS, TEXTS)
@example(args=[], names=["X" * MAX_FIELD_LENGTH, "B"])  # the second one is left out, and that is told
@example(args=["X" * MAX_FIELD_LENGTH, "B"], names=[])
@example(args=["$" * MAX_FIELD_LENGTH, ""], names=[])
def test_trim_job__changes_nothing_that_a_list_shows(args: list[str], names: list[str]) -> None:
    """A Job that was trimmed gives the same run in a list, and is short."""
    job = build_sample("abcdefghijkl")
    job["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    [container] = job["spec"]["template"]["spec"]["containers"]
    container["args"] = [escape(arg) for arg in args]
    container["env"] = [{"name": name, "value": "x" * 1000} for name in names]
    whole = build_view(job)
    trimmed = build_view(trim_job(job))
    assert abridge(trimmed) == abridge(whole)
    assert len(json.dumps(job)) < 40_000


def test_measure__is_about_what_a_run_takes_in_a_response() -> None:
    """With texts that JSON makes longer, too."""
    for args in (("42",), ("\u00e9" * 1000,), ("\x01" * 1000,), ('"' * 1000,)):
        view = view_of(args=args)
        assert abs(measure(view) - len(json.dumps(RunSchema().dump(view)))) < 400
