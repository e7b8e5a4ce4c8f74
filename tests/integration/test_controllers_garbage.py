"""What becomes of dependents when their owner is deleted."""

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


@pytest.fixture
def running_job(apis: Apis, make_job: MakeJob, eventually: Eventually) -> str:
    """A Job with a running pod that takes a while to end."""
    script = "trap 'sleep 0.3; exit 0' TERM; sleep 60 & wait"
    apis.batch.create_namespaced_job(apis.namespace, make_job("owner", "sh", "-c", script))
    eventually(lambda: apis.job("owner").status.ready == 1)
    return "owner"


def test_in_the_background_the_job_goes_at_once_and_its_pods_follow(
    apis: Apis, running_job: str, eventually: Eventually
) -> None:
    """`kubectl delete --cascade=background`."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Background")
    assert gone(apis.batch.read_namespaced_job, running_job, apis.namespace)
    assert len(apis.pods()) == 1
    eventually(lambda: not apis.pods())


def test_in_the_foreground_the_job_goes_after_its_pods(apis: Apis, running_job: str, eventually: Eventually) -> None:
    """`kubectl delete --cascade=foreground`: the Job shows that it is being deleted as long as a pod runs."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Foreground")
    deleting = apis.job(running_job)
    assert deleting.metadata.deletion_timestamp
    assert deleting.metadata.finalizers == ["foregroundDeletion"]
    eventually(lambda: gone(apis.batch.read_namespaced_job, running_job, apis.namespace))
    assert apis.pods() == []


def test_orphaned_pods_stay_and_belong_to_nobody(apis: Apis, running_job: str, eventually: Eventually) -> None:
    """`kubectl delete --cascade=orphan`: nothing holds the pods any more, finalizers included."""
    apis.batch.delete_namespaced_job(running_job, apis.namespace, propagation_policy="Orphan")
    eventually(lambda: gone(apis.batch.read_namespaced_job, running_job, apis.namespace))
    [pod] = eventually(lambda: [pod for pod in apis.pods() if not pod.metadata.finalizers])
    assert pod.metadata.owner_references is None
    assert pod.status.phase == "Running"


def test_a_config_map_whose_owner_never_existed_is_collected(apis: Apis, eventually: Eventually) -> None:
    """A dependent is judged by its owner's uid, not by its name."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "00000000-0000-0000-0000-000000000000"}
    body = {"metadata": {"name": "left-over", "ownerReferences": [owner]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "left-over", apis.namespace))


def test_with_one_owner_left_a_dependent_stays(apis: Apis, eventually: Eventually) -> None:
    """Only the references to owners that are gone are taken away."""
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


def test_an_owner_of_a_kind_that_isnt_served_keeps_its_dependents(
    apis: Apis, make_job: MakeJob, eventually: Eventually
) -> None:
    """What nothing is known of can't be known to be gone."""
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "1"}
    body = {"metadata": {"name": "foreign", "ownerReferences": [owner]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    # Whatever the collector does about the first it does before it gets to the second.
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "2"}
    body = {"metadata": {"name": "orphan", "ownerReferences": [nobody]}}
    apis.core.create_namespaced_config_map(apis.namespace, body)
    eventually(lambda: gone(apis.core.read_namespaced_config_map, "orphan", apis.namespace))
    assert not gone(apis.core.read_namespaced_config_map, "foreign", apis.namespace)


def test_a_dependent_of_a_kind_that_isnt_served_can_be_deleted(
    apis: Apis, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector asks who its owner was, and takes no harm from not knowing."""
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
