"""Pods of several containers on the node: init containers, sidecars and regular ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Apis, Eventually, Manifest, Model

pytestmark = OF_THE_EMBEDDED_CLUSTER

Ended = Callable[[str], Model]


def container(name: str, script: str, **fields: Any) -> Manifest:
    """Return a container whose script `sh` runs."""
    return {"name": name, "image": "busybox:1", "args": ["sh", "-c", script], **fields}


def sidecar(name: str, script: str, **fields: Any) -> Manifest:
    """Return an init container that is restarted always."""
    return container(name, script, restartPolicy="Always", **fields)


def run(apis: Apis, name: str, initial: list[Manifest], *regular: Manifest, policy: str = "Never") -> None:
    """Create a pod of these init containers and regular containers."""
    spec = {"restartPolicy": policy, "initContainers": initial, "containers": list(regular)}
    apis.core.create_namespaced_pod(apis.namespace, {"metadata": {"name": name}, "spec": spec})


@pytest.fixture
def ended(apis: Apis, eventually: Eventually) -> Ended:
    """Return a function that waits until a pod has ended, and returns it."""
    return lambda name: eventually(lambda: (pod := apis.pod(name)).status.phase in ("Succeeded", "Failed") and pod)


def condition(pod: Model, type_: str) -> Any:
    """Return status, reason and message of a pod's condition."""
    [found] = [one for one in pod.status.conditions if one.type == type_]
    return found.status, found.reason, found.message


def test_init_containers__run_one_after_the_other_before_the_regular_ones(
    apis: Apis, ended: Ended, tmp_path: Path
) -> None:
    """Their statuses keep the order of the spec; those of regular containers are sorted by name."""
    story = tmp_path / "story"
    initial = [container(name, f"sleep 0.1; echo {name} >> {story}") for name in ("second", "first")]
    run(apis, "order", initial, container("zeta", f"echo zeta >> {story}"), container("alpha", "true"))
    pod = ended("order")
    assert story.read_text() == "second\nfirst\nzeta\n"
    assert pod.status.phase == "Succeeded"
    assert [(one.name, one.ready, one.started) for one in pod.status.init_container_statuses] == [
        ("second", True, False), ("first", True, False)]  # fmt: skip
    assert [one.state.terminated.reason for one in pod.status.init_container_statuses] == ["Completed"] * 2
    assert [one.name for one in pod.status.container_statuses] == ["alpha", "zeta"]
    assert condition(pod, "Initialized") == ("True", "PodCompleted", None)


def test_init_container__holds_up_the_others_while_it_runs(apis: Apis, eventually: Eventually, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run(
        apis,
        "slow",
        [container("setup", f"echo ready; until test -e {go}; do sleep 0.02; done"), container("next", "true")],
        container("main", "exec sleep 600"),
    )

    def is_running() -> Any:
        statuses = (pod := apis.pod("slow")).status.init_container_statuses or ()
        return statuses and statuses[0].state.running and pod

    pod = eventually(is_running)
    assert pod.status.phase == "Pending"
    waiting = [pod.status.init_container_statuses[1], *pod.status.container_statuses]
    assert [one.state.waiting.reason for one in waiting] == ["PodInitializing"] * 2
    assert condition(pod, "Initialized") == (
        "False", "ContainersNotInitialized", "containers with incomplete status: [setup next]")  # fmt: skip
    assert condition(pod, "Ready")[2] == "containers with unready status: [main]"
    eventually(lambda: apis.log("slow", container="setup") == "ready\n")
    go.touch()
    pod = eventually(lambda: (pod := apis.pod("slow")).status.phase == "Running" and pod)
    assert condition(pod, "Initialized") == ("True", None, None)


def test_failed_init_container__fails_the_pod_that_is_never_restarted(apis: Apis, ended: Ended) -> None:
    run(
        apis,
        "failed",
        [sidecar("proxy", "exec sleep 600"), container("setup", "echo no such bucket > dev/termination-log; exit 2")],
        container("main", "true"),
    )
    pod = ended("failed")
    proxy, setup = pod.status.init_container_statuses
    assert pod.status.phase == "Failed"
    assert (setup.state.terminated.exit_code, setup.state.terminated.message) == (2, "no such bucket\n")
    assert proxy.state.terminated.exit_code == 143
    assert pod.status.container_statuses[0].state.waiting.reason == "PodInitializing"
    assert condition(pod, "Initialized")[1] == "ContainersNotInitialized"


def test_failed_init_container__is_restarted_where_the_pod_is(apis: Apis, ended: Ended, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"test -e {seen} && exit 0; touch {seen}; exit 3"
    run(apis, "again", [container("setup", script)], container("main", "true"), policy="OnFailure")
    pod = ended("again")
    [setup] = pod.status.init_container_statuses
    assert (pod.status.phase, setup.restart_count, setup.state.terminated.exit_code) == ("Succeeded", 1, 0)


def test_failing_init_container__waits_longer_each_time(apis: Apis, eventually: Eventually) -> None:
    run(apis, "loop", [container("setup", "exit 3")], container("main", "true"), policy="OnFailure")

    def is_backing_off() -> Any:
        statuses = (pod := apis.pod("loop")).status.init_container_statuses or ()
        return statuses and (waiting := statuses[0].state.waiting) and waiting.reason == "CrashLoopBackOff" and pod

    pod = eventually(is_backing_off)
    assert pod.status.phase == "Pending"
    assert pod.status.init_container_statuses[0].last_state.terminated.exit_code == 3


def test_init_container__without_an_image_says_so(apis: Apis, eventually: Eventually) -> None:
    run(apis, "none", [container("setup", "true", image="example.com/none:1")], container("main", "true"))

    def has_backed_off() -> Any:
        statuses = (pod := apis.pod("none")).status.init_container_statuses or ()
        return statuses and (waiting := statuses[0].state.waiting) and waiting.reason == "ImagePullBackOff" and pod

    pod = eventually(has_backed_off)
    assert (pod.status.phase, pod.status.container_statuses[0].state.waiting.reason) == ("Pending", "PodInitializing")
    selector = "involvedObject.name=none,reason=Pulling"
    [event] = apis.core.list_namespaced_event(apis.namespace, field_selector=selector).items
    assert event.involved_object.field_path == "spec.initContainers{setup}"


def test_sidecar__runs_beside_the_regular_containers_and_ends_after_them(
    apis: Apis, ended: Ended, tmp_path: Path
) -> None:
    """The last sidecar is ended first; how they end does not count."""
    story = tmp_path / "story"

    def proxy(name: str, code: int) -> Manifest:
        trap = f"trap 'echo {name} ends >> {story}; exit {code}' TERM"
        return sidecar(name, f"{trap}; echo {name} >> {story}; while true; do sleep 0.02; done")

    initial = [proxy("one", 0), container("setup", f"until test -s {story}; do sleep 0.02; done"), proxy("two", 5)]
    until_both = f"until test $(wc -l < {story}) = 2; do sleep 0.02; done; echo main >> {story}"
    run(apis, "beside", initial, container("main", until_both))
    pod = ended("beside")
    assert pod.status.phase == "Succeeded"
    assert story.read_text().split("\n")[2:] == ["main", "two ends", "one ends", ""]
    assert [one.state.terminated.exit_code for one in pod.status.init_container_statuses] == [0, 0, 5]
    assert all(one.restart_count == 0 for one in pod.status.init_container_statuses)


def test_sidecar__is_restarted_whatever_the_pods_policy(apis: Apis, ended: Ended, tmp_path: Path) -> None:
    seen, again = tmp_path / "seen", tmp_path / "again"
    proxy = sidecar("proxy", f"test -e {seen} && touch {again} && exec sleep 600; touch {seen}; exit 0")
    run(apis, "restarted", [proxy], container("main", f"until test -e {again}; do sleep 0.02; done"))
    pod = ended("restarted")
    assert (pod.status.phase, pod.status.init_container_statuses[0].restart_count) == ("Succeeded", 1)


def test_sidecar__holds_up_the_others_until_its_startup_probe_succeeds(
    apis: Apis, eventually: Eventually, ended: Ended, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    probe = {"exec": {"command": ["test", "-e", str(up)]}, "periodSeconds": 1, "failureThreshold": 100}
    run(apis, "probed", [sidecar("proxy", "exec sleep 600", startupProbe=probe)], container("main", "true"))
    eventually(lambda: "Unhealthy" in apis.reasons("Pod", "probed"))
    pod = apis.pod("probed")
    assert (pod.status.phase, pod.status.init_container_statuses[0].started) == ("Pending", False)
    assert condition(pod, "Initialized")[2] == "containers with incomplete status: [proxy]"
    up.touch()
    assert ended("probed").status.phase == "Succeeded"


def test_sidecar__is_restarted_when_its_startup_probe_fails(apis: Apis, eventually: Eventually) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    run(apis, "never", [sidecar("proxy", "exec sleep 600", startupProbe=probe)], container("main", "true"))

    def is_restarted() -> Any:
        statuses = apis.pod("never").status.init_container_statuses or ()
        return statuses and statuses[0].restart_count

    eventually(is_restarted)
    assert apis.pod("never").status.phase == "Pending"


def test_deletion__ends_the_regular_containers_before_the_sidecars(
    apis: Apis, eventually: Eventually, tmp_path: Path
) -> None:
    story = tmp_path / "story"

    def traced(make: Callable[..., Manifest], name: str) -> Manifest:
        trap = f"trap 'sleep 0.1; echo {name} >> {story}; exit 0' TERM"
        return make(name, f"{trap}; touch {tmp_path}/{name}; while true; do sleep 0.02; done")

    run(apis, "gone", [traced(sidecar, "proxy")], traced(container, "main"), policy="Always")
    eventually(lambda: (tmp_path / "proxy").exists() and (tmp_path / "main").exists())
    apis.core.delete_namespaced_pod("gone", apis.namespace)
    eventually(lambda: not apis.pods())
    assert story.read_text() == "main\nproxy\n"


def test_deletion__does_not_wait_for_a_container_that_ignores_its_end(
    apis: Apis, eventually: Eventually, tmp_path: Path
) -> None:
    """The grace period is that of the whole pod."""
    deaf = f"trap '' TERM; touch {tmp_path}/up; while true; do sleep 0.02; done"
    run(apis, "deaf", [sidecar("proxy", "exec sleep 600")], container("main", deaf))
    eventually((tmp_path / "up").exists)
    apis.core.delete_namespaced_pod("deaf", apis.namespace, grace_period_seconds=1)
    eventually(lambda: not apis.pods())


def test_deletion__while_initializing_ends_the_init_container(
    apis: Apis, eventually: Eventually, tmp_path: Path
) -> None:
    setup = container("setup", f"touch {tmp_path}/up; exec sleep 600")
    run(apis, "early", [setup], container("main", f"touch {tmp_path}/main"), policy="Always")
    eventually((tmp_path / "up").exists)
    apis.core.delete_namespaced_pod("early", apis.namespace)
    eventually(lambda: not apis.pods())
    assert not (tmp_path / "main").exists()


def test_regular_container__that_runs_on_keeps_the_pod_running(
    apis: Apis, eventually: Eventually, ended: Ended, tmp_path: Path
) -> None:
    """Injected proxies that are no native sidecars do that to Jobs."""
    go = tmp_path / "go"
    proxy = container("proxy", f"until test -e {go}; do sleep 0.02; done; exit 4")
    run(apis, "kept", [], container("main", "exit 0"), proxy)

    def is_proxy_alone() -> Any:
        main, proxy = (pod := apis.pod("kept")).status.container_statuses or (None, None)
        return main and main.state.terminated and proxy.state.running and pod

    pod = eventually(is_proxy_alone)
    assert (pod.status.phase, pod.status.container_statuses[0].name) == ("Running", "main")
    go.touch()
    assert ended("kept").status.phase == "Failed"


@pytest.mark.parametrize(("own", "phase"), [({"restartPolicy": "Never"}, "Failed"), ({}, "Succeeded")])
def test_restart_policy__of_a_container_precedes_that_of_its_pod(
    apis: Apis, ended: Ended, tmp_path: Path, own: Manifest, phase: str
) -> None:
    seen = tmp_path / "seen"
    script = f"test -e {seen} && exit 0; touch {seen}; exit 3"
    run(apis, "own", [], container("main", script, **own), policy="OnFailure")
    assert ended("own").status.phase == phase


def test_resource_reference__may_name_an_init_container(apis: Apis, ended: Ended) -> None:
    source = {"resourceFieldRef": {"containerName": "setup", "resource": "limits.cpu"}}
    setup = container("setup", "true", resources={"limits": {"cpu": "3"}})
    run(apis, "named", [setup], container("main", "echo $CPU", env=[{"name": "CPU", "valueFrom": source}]))
    ended("named")
    assert apis.log("named", container="main") == "3\n"
