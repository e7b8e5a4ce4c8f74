"""The garbage collector: dependents of a deleted owner."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Apis, Eventually, MakeJob

pytestmark = OF_THE_EMBEDDED_CLUSTER


def gone(read: Callable[[str, str], Any], name: str, namespace: str) -> bool:
    try:
        read(name, namespace)
    except ApiException as error:
        if error.status != 404:
            raise
        return True
    return False


HOLD = "example.com/hold"
"""A finalizer. It keeps a deleted pod until the test removes it, however long the test takes to look."""


@pytest.fixture
def running_job(apis: Apis, make_job: MakeJob, eventually: Eventually) -> str:
    """Return a Job with a running pod, which stays after its deletion until `release_pod`."""
    job = make_job("owner", "sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait")
    job["spec"]["template"].setdefault("metadata", {})["finalizers"] = [HOLD]
    apis.batch.create_namespaced_job(apis.namespace, job)
    eventually(lambda: apis.job("owner").status.ready == 1)
    return "owner"


def release_pod(apis: Apis, eventually: Eventually) -> None:
    """Let the pod go, once its deletion has begun."""
    [pod] = eventually(lambda: [pod for pod in apis.pods() if pod.metadata.deletion_timestamp])
    apis.core.patch_namespaced_pod(pod.metadata.name, apis.namespace, {"metadata": {"finalizers": None}})


def test_background__deletes_the_job_then_its_pods(apis: Apis, running_job: str, eventually: Eventually) -> None:
    """`kubectl delete --cascade=background`."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Background")
    assert gone(apis.batch.read_namespaced_job, running_job, apis.namespace)
    assert len(apis.pods()) == 1
    release_pod(apis, eventually)
    eventually(lambda: not apis.pods())


def test_foreground__deletes_the_pods_then_the_job(apis: Apis, running_job: str, eventually: Eventually) -> None:
    """`kubectl delete --cascade=foreground`: the Job has a deletionTimestamp while a pod runs."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Foreground")
    deleting = apis.job(running_job)
    assert deleting.metadata.deletion_timestamp
    assert deleting.metadata.finalizers == ["foregroundDeletion"]
    release_pod(apis, eventually)
    eventually(lambda: gone(apis.batch.read_namespaced_job, running_job, apis.namespace))
    assert apis.pods() == []


def test_orphan__keeps_the_pods_without_owner_or_finalizer(
    apis: Apis, running_job: str, eventually: Eventually
) -> None:
    """`kubectl delete --cascade=orphan`."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Orphan")
    eventually(lambda: gone(apis.batch.read_namespaced_job, running_job, apis.namespace))
    [pod] = eventually(lambda: [pod for pod in apis.pods() if pod.metadata.finalizers == [HOLD]])
    assert pod.metadata.owner_references is None
    assert pod.status.phase == "Running"


def test_collect__deletes_a_dependent_of_an_owner_that_never_existed(apis: Apis, eventually: Eventually) -> None:
    """The owner's uid decides, not its name."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "00000000-0000-0000-0000-000000000000"}
    body = {"metadata": {"name": "left-over", "ownerReferences": [owner]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "left-over", apis.namespace))


def test_collect__keeps_a_dependent_with_a_remaining_owner(apis: Apis, eventually: Eventually) -> None:
    """It only removes the references to deleted owners."""
    owners = [apis.core.create_namespaced_config_map(apis.namespace, {"metadata": {"name": name}}) for name in "ab"]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid}
        for owner in owners
    ]
    body = {"metadata": {"name": "shared", "ownerReferences": references}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    apis.core.delete_namespaced_config_map("a", apis.namespace)

    def owners_left() -> list[str]:
        found = apis.core.read_namespaced_config_map("shared", apis.namespace).metadata.owner_references
        return [reference.name for reference in found]

    eventually(lambda: owners_left() == ["b"])
    apis.core.delete_namespaced_config_map("b", apis.namespace)
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "shared", apis.namespace))


def test_collect__keeps_dependents_of_an_owner_of_an_unserved_kind(
    apis: Apis, make_job: MakeJob, eventually: Eventually
) -> None:
    """The collector cannot know whether such an owner exists."""
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "1"}
    body = {"metadata": {"name": "foreign", "ownerReferences": [owner]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    # The collector handles the first before the second.
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "2"}
    body = {"metadata": {"name": "orphan", "ownerReferences": [nobody]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "orphan", apis.namespace))
    assert not gone(apis.core.read_namespaced_config_map, "foreign", apis.namespace)


def test_collect__handles_the_deletion_of_a_dependent_of_an_unserved_kind(
    apis: Apis, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "1"}
    for name in ("first", "second"):
        body = {"metadata": {"name": name, "ownerReferences": [owner]}}
        apis.core.create_namespaced_config_map(apis.namespace, body)
        apis.core.delete_namespaced_config_map(name, apis.namespace)
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "2"}
    apis.core.create_namespaced_config_map(
        apis.namespace, {"metadata": {"name": "orphan", "ownerReferences": [nobody]}}
    )
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "orphan", apis.namespace))
    assert not [record for record in caplog.records if record.exc_info]
