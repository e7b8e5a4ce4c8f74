"""Definitions from CronJobs while the service runs: made, changed, faulty, deleted, overridden, and not permitted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from app.kube import labels
from tests.e2e.callers import Replica
from tests.integration.dispatching import ClusterFixture, until
from tests.support.faults import Fault, Hold, LoseResponse, Refuse, Request
from tests.support.servers import RBAC, grant
from tests.support.service import ServiceProcess, replicas
from tests.support.waiting import DEADLINE_SECONDS

CONFIGURED = {"configured": {"Image": "busybox:1", "Visibility": "Public", "Args": ["true"]}}
CRONJOBS = r"/cronjobs$"
MANAGER = "app.kubernetes.io/managed-by"


def manifest(
    name: str = "resize", *, annotations: dict[str, str] | None = None, suspend: bool = True
) -> dict[str, Any]:
    """A CronJob with two volumes and an init container, which is a public definition."""
    pod = {
        "restartPolicy": "Never",
        "initContainers": [{"name": "prepare", "image": "busybox:1", "args": ["true"]}],
        "containers": [
            {
                "name": "main",
                "image": "busybox:1",
                "args": ["true"],
                "env": [{"name": "SIZE", "value": "9"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "config", "configMap": {"name": "any", "optional": True}},
        ],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    given = {"SlimFaas/Job": "true", "SlimFaas/DefaultVisibility": "Public", **(annotations or {})}
    template = {
        "metadata": {"labels": {"team": "blue", MANAGER: "Helm"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "annotations": given},
        "spec": {"schedule": "0 0 1 1 *", "suspend": suspend, "jobTemplate": template},
    }


class CronJobs:
    """The CronJobs of a namespace, as a person changes them."""

    def __init__(self, cluster: ClusterFixture) -> None:
        self._cluster = cluster

    def create(self, name: str = "resize", **options: Any) -> None:
        """Create one; the options are those of `manifest`."""
        self._cluster.batch.create_namespaced_cron_job(self._cluster.namespace, manifest(name, **options))

    def annotate(self, name: str = "resize", **annotations: str | None) -> None:
        """Set annotations of SlimFaas; `None` removes one."""
        patch = {"metadata": {"annotations": {f"SlimFaas/{key}": value for key, value in annotations.items()}}}
        self.patch(patch, name)

    def patch(self, patch: dict[str, Any], name: str = "resize") -> None:
        """Change one."""
        self._cluster.batch.patch_namespaced_cron_job(name, self._cluster.namespace, patch)

    def delete(self, name: str = "resize") -> None:
        """Delete one."""
        self._cluster.batch.delete_namespaced_cron_job(name, self._cluster.namespace)

    def schedules(self) -> list[Any]:
        """Return the CronJobs that the service has made for schedules, by their cron expression."""
        found: list[Any] = self._cluster.batch.list_namespaced_cron_job(
            self._cluster.namespace, label_selector=labels.SCHEDULE_LABEL
        ).items
        return sorted(found, key=lambda made: str(made.spec.schedule))

    def events(self, name: str = "resize") -> list[tuple[str, str]]:
        """Return reason and message of the Events on a CronJob."""
        selector = f"involvedObject.kind=CronJob,involvedObject.name={name}"
        found = self._cluster.core.list_namespaced_event(self._cluster.namespace, field_selector=selector).items
        return sorted((event.reason, event.message) for event in found)


@pytest.fixture
def cronjobs(cluster: ClusterFixture) -> CronJobs:
    return CronJobs(cluster)


def state(service: ServiceProcess) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/ready").json()["CronJobs"]
    return found


def status_of(service: ServiceProcess, name: str) -> dict[str, Any] | None:
    """Return the definition's entry of `/jobs/status`; `None`: there is no such definition."""
    return next((entry for entry in service.get("/jobs/status").json() if entry["Name"] == name), None)


def slots_of(service: ServiceProcess, name: str = "resize") -> int | None:
    entry = status_of(service, name)
    return None if entry is None else int(entry["NumberParallelJob"])


@pytest.fixture
def serve(replica: Replica, cluster: ClusterFixture) -> Callable[..., ServiceProcess]:
    """Create replicas whose API server is behind the proxy."""

    def make(configuration: dict[str, Any] | None = None, **environment: str) -> ServiceProcess:
        return replica(
            CONFIGURED if configuration is None else configuration,
            url=cluster.proxy.url,
            **{"SLIMFAAS_PUBLIC_LISTING": "true", **environment},
        )

    return make


Serve = Callable[..., ServiceProcess]


def test_cronjob__is_a_definition_whose_runs_have_its_whole_template(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    cronjobs.create(annotations={"SlimFaas/NumberParallelJob": "3"})
    with serve() as service:
        entry = status_of(service, "resize")
        assert entry is not None
        assert (entry["Source"], entry["NumberParallelJob"], entry["Image"]) == ("CronJob", 3, "busybox:1")
        assert state(service) == {"Status": "Current", "Definitions": 1, "Refused": 0}
        assert service.post("/job/resize", {"Image": "other:1"}).status_code == 422
        response = requests.post(
            f"{service.url}/job/resize",
            json={"Args": ["true"]},
            headers={"Prefer": "wait=60"},
            timeout=DEADLINE_SECONDS,
        )
        assert response.json()["Status"] == "Succeeded", response.text
        job = cluster.job(response.json()["Name"])
    pod = job.spec.template.spec
    assert (job.metadata.labels["team"], job.metadata.labels[MANAGER]) == ("blue", "slimfaas-jobs")
    assert [volume.name for volume in pod.volumes] == ["scratch", "config"]
    assert [container.name for container in pod.init_containers] == ["prepare"]
    assert pod.tolerations[0].key == "gpu"
    assert {variable.name: variable.value for variable in pod.containers[0].env}["SIZE"] == "9"
    assert (job.spec.backoff_limit, job.spec.suspend) == (0, False)


def test_cronjob__changes_live_and_goes_with_its_annotation(cronjobs: CronJobs, serve: Serve) -> None:
    """No restart, and each of several workers and replicas follows."""
    services = [serve(), serve(WEB_CONCURRENCY="2")]
    with replicas(*services):
        assert services[0].post("/job/resize").status_code == 404
        cronjobs.create()
        for service in services:
            until(lambda service=service: slots_of(service) == 1)
        cronjobs.annotate(NumberParallelJob="4")
        for service in services:
            until(lambda service=service: [slots_of(service) for _ in range(8)] == [4] * 8)
        cronjobs.annotate(Job="false")
        for service in services:
            until(lambda service=service: service.post("/job/resize").status_code == 404)
        cronjobs.annotate(Job="true")
        until(lambda: slots_of(services[0]) == 4)
        cronjobs.delete()
        until(lambda: slots_of(services[0]) is None)
        assert services[0].post("/job/configured").status_code == 202


def test_cronjob__waits_for_its_slots_and_dependencies(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    """The dispatcher counts by the annotation, also after a change."""
    cronjobs.create(annotations={"SlimFaas/DependsOn": "database"})
    with serve() as service:
        responses = [service.post("/job/resize") for _ in range(2)]
        locations = [response.headers["Location"] for response in responses]
        until(lambda: "database" in service.get(locations[0]).json()["Message"])
        cluster.deploy("database", replicas=1)
        for location in locations:
            until(lambda location=location: service.get(location).json()["Status"] == "Succeeded")


@pytest.mark.slow
def test_cronjob__has_its_schedules_kept_like_the_configurations(cronjobs: CronJobs, serve: Serve) -> None:
    """They follow each valid change, stay while its newest version is faulty, and go with it."""
    yearly = {"SlimFaas/Schedules": '[{"Schedule": "0 0 1 1 *", "Args": ["a"]}]'}
    cronjobs.create(annotations=yearly)
    with serve() as service:
        until(lambda: len(cronjobs.schedules()) == 1)
        (made,) = cronjobs.schedules()
        job = made.spec.job_template
        assert (made.spec.suspend, job.spec.suspend, job.metadata.labels["team"]) == (False, True, "blue")
        assert [volume.name for volume in job.spec.template.spec.volumes] == ["scratch", "config"]
        assert job.spec.template.spec.containers[0].args == ["a"]
        cronjobs.annotate(Schedules='[{"Schedule": "0 0 2 1 *"}]')
        until(lambda: [made.spec.schedule for made in cronjobs.schedules()] == ["0 0 2 1 *"])
        cronjobs.annotate(Schedules='[{"Schedule": "never"}]')
        until(lambda: state(service)["Status"] == "Refused")
        assert "SlimFaas~1Schedules/0/Schedule: not a cron expression" in until(cronjobs.events)[0][1]
        assert service.stop() == 0  # it gives its lease back, so that the next one need not wait
    with serve() as service:  # to which the faulty version is the first one
        cronjobs.create("other", annotations={"SlimFaas/Schedules": '[{"Schedule": "0 0 3 1 *"}]'})
        until(lambda: "0 0 3 1 *" in [made.spec.schedule for made in cronjobs.schedules()])
        assert [made.spec.schedule for made in cronjobs.schedules()] == ["0 0 2 1 *", "0 0 3 1 *"]
        cronjobs.delete()
        until(lambda: [made.spec.schedule for made in cronjobs.schedules()] == ["0 0 3 1 *"])


@pytest.mark.slow
def test_cronjob__that_is_deleted_copied_and_made_again_while_runs_are_queued(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    """Its runs wait for a definition of its name, and are no runs of the copy."""
    cronjobs.create(annotations={"SlimFaas/DependsOn": "database"})
    with serve() as service:
        accepted = [service.post("/job/resize").json() for _ in range(2)]
        cronjobs.create("resize-copy", annotations={"SlimFaas/NumberParallelJob": "5"})
        cronjobs.delete()
        until(lambda: slots_of(service) is None)
        until(lambda: slots_of(service, "resize-copy") == 5)
        path = f"/job/resize/{accepted[0]['Id']}"
        assert (service.get(path).status_code, service.post("/job/resize").status_code) == (404, 404)
        assert service.get(path.replace("resize", "resize-copy")).status_code == 404

        cluster.deploy("database", replicas=1)
        for run in accepted:
            until(lambda run=run: "DefinitionMissing" in cluster.reasons(run["Name"]))
            assert cluster.job(run["Name"]).spec.suspend
        assert service.post("/job/resize-copy").status_code == 202

        cronjobs.create()
        until(lambda: slots_of(service) == 1)
        for run in accepted:
            until(lambda run=run: service.get(f"/job/resize/{run['Id']}").json()["Status"] == "Succeeded")


def test_cronjob__that_is_faulty_is_refused_alone_and_told_once(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    """Its last valid version stays in force. Two replicas write one Event for each change."""
    cronjobs.create("other")
    cronjobs.create()
    services = [serve(), serve()]
    with replicas(*services):
        cronjobs.annotate(NumberParallelJob="many")
        for service in services:
            until(lambda service=service: state(service) == {"Status": "Refused", "Definitions": 2, "Refused": 1})
            assert slots_of(service) == 1
        until(lambda: len(cronjobs.events()) == 1)
        assert cronjobs.events() == [
            ("DefinitionRefused", "/metadata/annotations/SlimFaas~1NumberParallelJob: must be an integer")
        ]
        assert cronjobs.events("other") == []
        cronjobs.patch({"spec": {"suspend": False}})
        until(lambda: len(cronjobs.events()) == 2)
        assert "/spec/suspend: must be true" in cronjobs.events()[-1][1]

        cronjobs.annotate("other", NumberParallelJob="5")
        until(lambda: slots_of(services[0], "other") == 5)
        metrics = services[0].get("/metrics").text
        assert 'slimfaas_jobs_definitions{source="cronjob"} 2.0' in metrics
        assert "slimfaas_jobs_refused_cronjobs 1.0" in metrics

        cronjobs.annotate(NumberParallelJob="6")
        cronjobs.patch({"spec": {"suspend": True}})
        for service in services:
            until(lambda service=service: slots_of(service) == 6)
            until(lambda service=service: state(service)["Status"] == "Current")
    assert all(service.log_text.count("the CronJob resize is refused") >= 2 for service in services)
    written = [request for request in cluster.proxy.requests if is_event(request) and request.status == 201]
    assert len(written) == len(cronjobs.events())


def is_event(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/events") and b'"CronJob"' in request.body


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [Refuse(503, "ServiceUnavailable"), LoseResponse()], ids=["not-written", "answer-lost"]
)
def test_event__is_written_once_although_the_first_call_fails(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve, fault: Refuse | LoseResponse
) -> None:
    failed = cluster.proxy.add(Fault(fault, when=is_event))
    cronjobs.create(annotations={"SlimFaas/NumberParallelJob": "many"})
    with serve() as service:
        cluster.proxy.wait_for(lambda request: is_event(request) and request.status in (201, 409), count=1)
        until(lambda: "recovered after" in service.log_text)
        assert cluster.proxy.hits(failed) == 1
        assert len(cronjobs.events()) == 1
        assert slots_of(service, "configured") == 1


@pytest.mark.slow
def test_cronjob__does_not_replace_a_definition_of_the_configuration(cronjobs: CronJobs, serve: Serve) -> None:
    cronjobs.create("configured", annotations={"SlimFaas/NumberParallelJob": "9"})
    with serve() as service:
        assert slots_of(service, "configured") == 1
        assert state(service) == {"Status": "Refused", "Definitions": 0, "Refused": 1}
        ((reason, message),) = until(lambda: cronjobs.events("configured"))
        assert reason == "DefinitionOverridden"
        assert message.startswith("the configuration has a definition of this name")


@pytest.mark.slow
def test_service__does_without_the_right_to_read_cronjobs(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    """An upgraded service whose Role is older. It says so once, and does everything else."""
    cronjobs.create()
    refusal = cluster.proxy.add(Fault(Refuse(403, "Forbidden"), path=CRONJOBS, times=None))
    with serve() as service:
        assert state(service) == {"Status": "Unreadable", "Definitions": 0, "Refused": 0}
        assert service.post("/job/resize").status_code == 404
        response = requests.post(
            f"{service.url}/job/configured", headers={"Prefer": "wait=60"}, timeout=DEADLINE_SECONDS
        )
        assert response.status_code == 200, response.text
        cluster.proxy.wait_for(lambda request: request.path.endswith("/cronjobs"), count=2)
        assert service.log_text.count("definitions from CronJobs can't be read") == 1
        assert "the watch of cronjobs" not in service.log_text
        cluster.proxy.remove(refusal)
        until(lambda: slots_of(service) == 1)
        assert state(service)["Status"] == "Current"


@pytest.mark.real_only("the embedded cluster does not authorize")
def test_service__reads_cronjobs_once_the_right_is_granted(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve, tmp_path: Path
) -> None:
    """With the Role of the earlier version, then with the present one."""
    documents = list(yaml.safe_load_all(RBAC.read_text("utf-8")))
    for document in documents:
        document["rules"] = [rule for rule in document.get("rules", []) if rule["resources"] != ["cronjobs"]]
        if document["kind"] != "Role":
            del document["rules"]
    older = tmp_path / "older.yaml"
    older.write_text(yaml.safe_dump_all(documents), "utf-8")
    grant(cluster.server, cluster.namespace, older)
    cronjobs.create()
    with serve() as service:
        assert state(service)["Status"] == "Unreadable"
        grant(cluster.server, cluster.namespace, RBAC)
        until(lambda: slots_of(service) == 1)


@pytest.mark.slow
def test_service__neither_reads_nor_watches_cronjobs_where_they_are_off(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    cronjobs.create()
    with serve(SLIMFAAS_CRONJOB_DEFINITIONS="off") as service:
        assert state(service) == {"Status": "Off", "Definitions": 0, "Refused": 0}
        until(lambda: service.get("/ready").json()["Dispatcher"] == "leading")
        assert service.post("/job/resize").status_code == 404
    assert not [request for request in cluster.proxy.requests if "cronjobs" in request.path]


def test_service__does_not_deny_a_definition_before_it_has_read_the_cronjobs(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    """The first list hangs: an unknown name may be that of a CronJob, so it gets 503."""
    cronjobs.create()
    late = Hold()
    cluster.proxy.add(Fault(late, path=CRONJOBS, times=None))
    service = serve()
    service.launch()
    try:
        late.wait_held()
        until(lambda: answers(service))
        assert service.get("/ready").status_code == 503
        response = service.post("/job/resize")
        assert (response.status_code, response.json()["detail"]) == (503, "the definitions have not all been read yet")
        assert "Retry-After" in response.headers
        assert service.post("/job/configured").status_code == 202
        late.release()
        until(lambda: service.post("/job/resize").status_code == 202)
        assert service.get("/ready").status_code == 200
    finally:
        service.kill()


def answers(service: ServiceProcess) -> bool:
    try:
        return service.get("/health").status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.slow
def test_watch__goes_on_after_a_break_and_shows_what_was_missed(
    cluster: ClusterFixture, cronjobs: CronJobs, serve: Serve
) -> None:
    cronjobs.create()
    with serve() as service:
        until(lambda: slots_of(service) == 1)
        cluster.proxy.refuse_connections()
        cluster.proxy.cut_all()
        cronjobs.annotate(NumberParallelJob="3")
        assert service.post("/job/resize").status_code == 503
        cluster.proxy.heal()
        until(lambda: slots_of(service) == 3)
