"""Schedules of a configuration in the whole service: leaders are killed in the middle of writes, files change."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.domain.names import cronjob_name, schedule_ids
from app.kube import labels
from schemas.schedules import load_schedule
from tests.e2e.callers import Replica
from tests.integration.dispatching import ClusterFixture, make_due, until
from tests.support.faults import Fault, Hold
from tests.support.observer import Observer
from tests.support.service import ServiceProcess, replicas

DEFINITIONS = {"report": {"Image": "busybox:1", "Visibility": "Public", "Args": ["true"]}}
YEARLY = {"Schedule": "0 0 1 1 *"}


def name_of(entry: dict[str, Any]) -> str:
    return cronjob_name("report", *schedule_ids("report", [load_schedule(entry)[0]]))


def cronjobs(cluster: ClusterFixture) -> dict[str, Any]:
    return {one.metadata.name: one for one in cluster.batch.list_namespaced_cron_job(cluster.namespace).items}


def args_of(cronjob: Any) -> list[str]:
    return list(cronjob.spec.job_template.spec.template.spec.containers[0].args)


@pytest.mark.slow
def test_leader__killed_in_the_middle_of_a_write__leaves_and_doubles_no_cronjob(
    cluster: ClusterFixture, replica: Replica
) -> None:
    """Its create, and its change, arrive after the next leader's."""
    other = {"Schedule": "@daily"}
    create, change = Hold(), Hold()
    cluster.proxy.add(Fault(create, method="POST", path=r"/cronjobs$"))
    before = {"report": [YEARLY]}
    after = {"report": [{**YEARLY, "Args": ["new"]}, other]}

    def start(schedules: dict[str, Any]) -> Any:
        return replica(DEFINITIONS, schedules=schedules, url=cluster.proxy.url)

    first, second, third = start(before), start(before), start(after)
    with replicas(first):
        create.wait_held()
        first.kill()
    with replicas(second):
        until(lambda: list(cronjobs(cluster)) == [name_of(YEARLY)])
        create.release()
        uid = cronjobs(cluster)[name_of(YEARLY)].metadata.uid
        cluster.proxy.add(
            Fault(change, method="PUT", path=r"/cronjobs/[^/]+$", when=lambda one: not one.query.count("dryRun"))
        )
        second.kill()
    with replicas(third):
        change.wait_held()
        third.kill()
    fourth = start(after)
    with replicas(fourth):
        until(lambda: set(cronjobs(cluster)) == {name_of(YEARLY), name_of(other)})
        until(lambda: args_of(cronjobs(cluster)[name_of(YEARLY)]) == ["new"])
        version = cronjobs(cluster)[name_of(YEARLY)].metadata.generation
        change.release()
        cluster.proxy.wait_for(lambda one: one.method == "PUT" and one.status == 409)
        found = cronjobs(cluster)
        assert set(found) == {name_of(YEARLY), name_of(other)}
        assert (found[name_of(YEARLY)].metadata.uid, found[name_of(YEARLY)].metadata.generation) == (uid, version)
        assert fourth.stop() == 0
    assert all(labels.SCHEDULE_EDITED_ANNOTATION not in one.metadata.annotations for one in cronjobs(cluster).values())


@pytest.mark.slow
def test_leaders__end_in_turn_at_the_times_of_schedules__lose_and_double_no_run(
    cluster: ClusterFixture, replica: Replica
) -> None:
    """Each time comes when a leader is stopped or killed while another replica waits for the Lease."""
    schedules = [{**YEARLY, "TimeZone": zone} for zone in ("Etc/UTC", "Europe/Paris", "Asia/Tokyo", "America/Lima")]
    names = [name_of(schedule) for schedule in schedules]

    def start() -> ServiceProcess:
        return replica(DEFINITIONS, schedules={"report": schedules}, url=cluster.proxy.url)

    services = [start() for _ in range(len(names) + 1)]
    with Observer(cluster.server.admin, cluster.namespace) as seen, replicas(services[0]), ExitStack() as stack:
        until(cluster.is_settled)
        until(lambda: set(cronjobs(cluster)) == set(names))
        uids = {name: cronjob.metadata.uid for name, cronjob in cronjobs(cluster).items()}
        for number, name in enumerate(names):
            stack.enter_context(replicas(services[number + 1]))
            holder = cluster.holder()
            make_due(cluster, name)
            if number % 2:
                services[number].kill()
            else:
                assert services[number].stop() == 0
            until(lambda holder=holder: cluster.holder() not in ("", holder) and cluster.is_settled())
        seen.wait(lambda: len(seen.finished) == len(names))
        found = cronjobs(cluster)
        runs = cluster.batch.list_namespaced_job(cluster.namespace).items
    assert {name: cronjob.metadata.uid for name, cronjob in found.items()} == uids
    assert all(labels.SCHEDULE_EDITED_ANNOTATION not in one.metadata.annotations for one in found.values())
    assert sorted(run.metadata.owner_references[0].name for run in runs) == sorted(names)
    assert seen.finished == {run.metadata.name for run in runs}
    assert {seen.starts[name] for name in seen.finished} == {1}
    assert seen.most_active["report"] == 1


@pytest.mark.slow
def test_schedules__of_a_file_and_of_a_cronjob__change_live(
    cluster: ClusterFixture, replica: Replica, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    value: dict[str, Any] = {"Configurations": DEFINITIONS, "Schedules": {"report": [YEARLY]}}
    file.write_text(json.dumps(value), "utf-8")
    service = replica(
        {}, url=cluster.proxy.url, SLIMFAAS_JOBS_CONFIGURATION="", SLIMFAAS_JOBS_CONFIGURATION_FILE=str(file)
    )
    annotations = {"SlimFaas/Job": "true", "SlimFaas/Schedules": '[{"Schedule":"0/2 * 1 1 *","Args":["39"]}]'}
    template = {
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "b"}]}}}
    }
    manifest = {
        "metadata": {"name": "resize", "annotations": annotations},
        "spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": template},
    }
    with replicas(service):
        until(lambda: list(cronjobs(cluster)) == [name_of(YEARLY)])
        cluster.batch.create_namespaced_cron_job(cluster.namespace, manifest)
        made = until(lambda: [one for one in cronjobs(cluster).values() if one.metadata.name.startswith("resize-")])
        assert (args_of(made[0]), made[0].spec.schedule) == (["39"], "0/2 * 1 1 *")

        value["Schedules"] = {"report": [{"Schedule": "@daily"}]}
        file.write_text(json.dumps(value), "utf-8")
        until(lambda: set(cronjobs(cluster)) == {name_of({"Schedule": "@daily"}), "resize", made[0].metadata.name})
        cluster.batch.delete_namespaced_cron_job("resize", cluster.namespace)
        until(lambda: list(cronjobs(cluster)) == [name_of({"Schedule": "@daily"})])
        assert service.stop() == 0
