"""What Kueue promises about Jobs with a gate, and on which the service relies.

https://github.com/kubernetes-sigs/kueue/tree/main/keps/6915-scheduling-gated-by-annotation
"""

import pytest
from kubernetes import client

from tests.controlplane.kueue.process import GATE_ANNOTATION, Kueue
from tests.e2e.kueue import GATE, WITH_KUEUE, Condition, Queues
from tests.support.servers import Server
from tests.support.waiting import until

pytestmark = WITH_KUEUE


def test_gated_job__is_suspended_until_its_gate_is_removed(queues: Queues) -> None:
    queues.add_queue("train", {"pods": 1})
    queues.add_job("gated", "train", gate=GATE)

    waits = queues.wait_for("gated", "QuotaReserved", "AdmissionGated")
    assert waits == Condition("False", "AdmissionGated", f"Admission is gated by: {GATE}")
    queues.add_job("later", "train")
    queues.wait_started("later")  # the gated Job is first in the queue, and holds no quota
    assert queues.job("gated").spec.suspend
    queues.delete_job("later")

    queues.open_gate("gated")
    queues.wait_started("gated")
    assert not queues.job("gated").spec.suspend
    assert queues.conditions("gated")["Admitted"].status == "True"


def test_gated_job__cannot_be_started_by_hand(queues: Queues) -> None:
    queues.add_queue("train", {"pods": 1})
    queues.add_job("gated", "train", gate=GATE)
    queues.wait_for("gated", "QuotaReserved", "AdmissionGated")

    started = queues.patch_job("gated", {"spec": {"suspend": False}}).metadata.generation
    until(lambda: queues.job("gated").metadata.generation > started)
    assert queues.job("gated").spec.suspend


def test_gate__cannot_be_added_later(queues: Queues) -> None:
    queues.add_queue("train", {"pods": 1})
    queues.add_job("plain", "train")
    with pytest.raises(client.ApiException, match="cannot add admission gate after creation"):
        queues.patch_job("plain", {"metadata": {"annotations": {GATE_ANNOTATION: GATE}}})


def test_job_without_quota__waits_and_its_workload_says_why(queues: Queues) -> None:
    quota = queues.add_quota("train", {"pods": 0})
    queues.add_queue("train", quota)
    queues.add_job("gated", "train", gate=GATE)
    queues.wait_for("gated", "QuotaReserved", "AdmissionGated")

    queues.open_gate("gated")
    queues.wait_for("gated", "QuotaReserved", "maximum capacity (0)")
    assert queues.job("gated").spec.suspend

    queues.change_quota(quota, {"pods": 1})
    queues.wait_started("gated")


def test_preempted_job__is_suspended_and_gets_no_other_gate(queues: Queues) -> None:
    high = queues.add_priority("high", 1000)
    quota = queues.add_quota("train", {"pods": 1}, preemption={"withinClusterQueue": "LowerPriority"})
    queues.add_queue("train", quota)
    queues.add_job("low", "train")
    queues.wait_started("low")

    queues.add_job("high", "train", priority=high)
    queues.wait_started("high")
    assert queues.wait_for("low", "Preempted", "InClusterQueue").status == "True"
    until(lambda: queues.job("low").spec.suspend)
    with pytest.raises(client.ApiException, match="cannot add admission gate after creation"):
        queues.patch_job("low", {"metadata": {"annotations": {GATE_ANNOTATION: GATE}}})

    queues.delete_job("high")
    queues.wait_started("low")


def test_job_without_queue__waits_only_where_kueue_manages_all(kueue: Kueue, queues: Queues) -> None:
    queues.add_job("before", None)
    queues.wait_started("before")
    with kueue.configured(manage_jobs_without_queue_name=True):
        queues.add_job("plain", None)
        assert queues.wait_for("plain", "QuotaReserved", "Inadmissible").message == "LocalQueue  doesn't exist"
        assert queues.job("plain").spec.suspend


def test_other_namespaces__are_left_alone(server: Server, namespace: str, kueue: Kueue) -> None:
    unmanaged = Queues(server, namespace)
    with kueue.configured(manage_jobs_without_queue_name=True):
        unmanaged.add_queue("train", {"pods": 0})
        for name, queue in (("plain", None), ("queued", "train")):
            unmanaged.add_job(name, queue)
            unmanaged.wait_started(name)
            assert unmanaged.workload(name) is None


def test_older_kueue__ignores_the_gate(kueue: Kueue, queues: Queues) -> None:
    with kueue.configured(feature_gates={"AdmissionGatedBy": False}):
        queues.add_queue("train", {"pods": 1})
        queues.add_job("gated", "train", gate=GATE)
        queues.wait_started("gated")
    assert queues.job("gated").metadata.annotations[GATE_ANNOTATION] == GATE
