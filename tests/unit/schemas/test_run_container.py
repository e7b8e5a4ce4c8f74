"""Which container of a pod is the run's own."""

from typing import Any

import pytest

from schemas.run_container import DEFAULT_CONTAINER_ANNOTATION, run_container


def make_template(*names: str, annotation: Any = None) -> dict[str, Any]:
    annotations = {} if annotation is None else {DEFAULT_CONTAINER_ANNOTATION: annotation}
    containers = [{"name": name, "image": f"{name}:1"} for name in names]
    initial = [{"name": "setup", "image": "setup:1"}]
    return {"metadata": {"annotations": annotations}, "spec": {"containers": containers, "initContainers": initial}}


@pytest.mark.parametrize(
    ("names", "annotation", "own"),
    [
        (["proxy", "fib", "main"], "main", "main"),
        (["proxy", "fib", "main"], None, "fib"),
        (["proxy", "fib", "main"], "", "fib"),
        (["proxy", "fib", "main"], "missing", "fib"),
        (["proxy", "main"], None, "proxy"),
        (["proxy", "main"], "setup", "proxy"),
        (["proxy", "main"], ["main"], "proxy"),
        (["fib"], None, "fib"),
    ],
)
def test_run_container__is_that_of_the_annotation_then_of_the_definitions_name_then_the_first(
    names: list[str], annotation: Any, own: str
) -> None:
    assert run_container(make_template(*names, annotation=annotation), "fib")["name"] == own


@pytest.mark.parametrize("template", [{}, {"metadata": None, "spec": None}, {"spec": {"containers": None}}])
def test_run_container__is_empty_where_there_is_no_container(template: dict[str, Any]) -> None:
    assert run_container(template, "fib") == {}


def test_run_container__takes_no_container_without_a_name_for_the_named_one() -> None:
    """A template is read before it is checked."""
    template = {"spec": {"containers": [{"image": "a:1"}, {"name": "fib"}]}}
    assert run_container(template, "fib") == {"name": "fib"}
