"""The decisions of the Deployment controller: how many pods it keeps during an update."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devcluster.controllers.deployments import HASH_LABEL, reconcile
from devcluster.controllers.workload_status import resolve_share, template_hash
from devcluster.objects import Object, to_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRESENT = template_hash({"version": 2})


def make_deployment(replicas: int, strategy: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "d", "generation": 1},
        "spec": {"replicas": replicas, "template": {"version": 2}, "strategy": strategy or {}, **spec},
    }


def make_pod(name: str, revision: str = PRESENT, ready: bool = True, **metadata: Any) -> Object:
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": to_time(NOW)}
    return {
        "metadata": {"name": name, "labels": {HASH_LABEL: revision}, **metadata},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [condition]},
    }


def test_resolve_share__rounds_surge_up_and_unavailable_down() -> None:
    assert resolve_share("25%", 3, round_up=True) == 1
    assert resolve_share("25%", 3, round_up=False) == 0
    assert resolve_share(None, 8, round_up=False) == 2
    assert resolve_share(5, 3, round_up=True) == 5


def test_reconcile__recreate_waits_until_old_pods_are_gone() -> None:
    deployment = make_deployment(2, {"type": "Recreate"})
    old = [make_pod("a", "old"), make_pod("b", "old")]
    plan = reconcile(deployment, old, NOW)
    assert (plan.create, plan.delete) == (0, old)
    leaving = make_pod("a", "old", deletionTimestamp=to_time(NOW))
    assert reconcile(deployment, [leaving], NOW).create == 0
    assert reconcile(deployment, [], NOW).create == 2


def test_reconcile__replaces_a_failed_pod() -> None:
    """For example, a pod that the node rejected."""
    failed = make_pod("a")
    failed["status"]["phase"] = "Failed"
    plan = reconcile(make_deployment(1), [failed], NOW)
    assert (plan.create, plan.delete) == (1, [failed])


def test_reconcile__keeps_old_pods_while_paused() -> None:
    """As after `kubectl rollout pause`."""
    plan = reconcile(make_deployment(1, paused=True), [make_pod("a", "old")], NOW)
    assert (plan.create, plan.delete) == (0, [])


@given(
    replicas=st.integers(0, 6),
    surge=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "100%"])),
    unavailable=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "100%"])),
    old_count=st.integers(0, 6),
    readiness=st.lists(st.booleans(), max_size=60),
)
def test_reconcile__rolling_update_respects_surge_and_unavailable_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, old_count: int, readiness: list[bool]
) -> None:
    """Never more than maxSurge pods above `replicas`, nor more than maxUnavailable available pods below it."""
    deployment = make_deployment(replicas, {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    pods = [make_pod(f"old-{number}", "old") for number in range(min(old_count, replicas))]
    most = replicas + max(resolve_share(surge, replicas, round_up=True), 0)
    tolerated = resolve_share(unavailable, replicas, round_up=False)
    least = replicas - (tolerated or (0 if resolve_share(surge, replicas, round_up=True) else 1))
    created = 0
    for ready in [*readiness, *[True] * 40]:
        available = sum(1 for pod in pods if pod["status"]["conditions"][0]["status"] == "True")
        plan = reconcile(deployment, pods, NOW)
        given_up = sum(1 for pod in plan.delete if pod["status"]["conditions"][0]["status"] == "True")
        assert given_up == 0 or available - given_up >= least
        assert len(pods) + plan.create <= max(most, replicas)
        pods = [pod for pod in pods if pod not in plan.delete]
        for _ in range(plan.create):
            created += 1
            pods.append(make_pod(f"new-{created}", ready=False))
        if ready:
            pods = [make_pod(pod["metadata"]["name"], pod["metadata"]["labels"][HASH_LABEL]) for pod in pods]
    assert [pod["metadata"]["labels"][HASH_LABEL] for pod in pods] == [PRESENT] * replicas
