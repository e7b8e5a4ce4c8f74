"""Which container's log a caller may read."""

from typing import Any

import pytest

from app.kube import labels
from app.runs.logs.reader import UnknownContainerError, choose_container


def make_job(*names: str, annotation: str | None = None) -> dict[str, Any]:
    annotations = {} if annotation is None else {"kubectl.kubernetes.io/default-container": annotation}
    return {
        "metadata": {
            "name": "fib-slimfaas-job-abcdefghijkl",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"},
        },
        "spec": {
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {
                    "containers": [{"name": name} for name in names],
                    "initContainers": [{"name": "setup"}],
                },
            }
        },
    }


@pytest.mark.parametrize(
    ("job", "wanted", "chosen"),
    [
        (make_job("proxy", "fib"), None, "fib"),
        (make_job("proxy", "main"), None, "proxy"),
        (make_job("proxy", "main", annotation="main"), None, "main"),
        (make_job("proxy", "main"), "main", "main"),
        (make_job("proxy", "main"), "setup", "setup"),
    ],
)
def test_choose_container__is_the_runs_own_unless_another_is_wanted(
    job: dict[str, Any], wanted: str | None, chosen: str
) -> None:
    assert choose_container(job, wanted) == chosen


@pytest.mark.parametrize("wanted", ["", "istio-proxy", "Main", "setup "])
def test_choose_container__refuses_what_the_job_does_not_define(wanted: str) -> None:
    """A container that a webhook adds to the pod may print what the platform keeps from callers."""
    with pytest.raises(UnknownContainerError, match="it has: main, setup"):
        choose_container(make_job("main"), wanted)
